import { PkiError } from '../errors/index.ts';

const largestId = 4_294_967_294;

const isId = (value: string): boolean =>
  /^(0|[1-9][0-9]{0,9})$/.test(value) && Number(value) <= largestId;
const isCleanPath = (value: string): boolean =>
  /^(\/[^/]+)+$/.test(value) && !/\/\.\.?(\/|$)/.test(value);
const unit = /.\.(service|scope|slice|socket|mount|swap|timer|path|target|device|automount)$/;

const id = { fits: isId, form: 'a number, as id(1) shows it' };
const path = {
  fits: isCleanPath,
  form: 'an absolute path without "//", ".", ".." or "/" at its end, as the kernel shows it',
};
const name = { fits: (value: string) => !/[:\n/]/.test(value), form: 'the name of an account' };

/** The forms of values that a process can have. */
const forms: Readonly<
  Record<string, { readonly fits: (value: string) => boolean; readonly form: string }>
> = {
  'unix:uid': id,
  'unix:gid': id,
  'unix:supplementary_gid': id,
  'unix:user': name,
  'unix:group': name,
  'unix:supplementary_group': name,
  'unix:path': path,
  'unix:foreign_path': path,
  'unix:sha256': {
    fits: (value) => /^[0-9a-f]{64}$/.test(value),
    form: '64 hexadecimal digits in lower case, as sha256sum(1) prints them',
  },
  'unix:cgroup': { fits: (value) => value.startsWith('/'), form: 'a path below the cgroup root' },
  'systemd:id': {
    fits: (value) => unit.test(value),
    form: 'a unit with its suffix, for example web.service',
  },
};

/** Refuses a selector that no process can ever have. Throws SELECTOR_INVALID. */
export function expectPossible(selector: string): void {
  const [type, key, ...rest] = selector.split(':');
  const form = forms[`${type}:${key}`];
  const value = rest.join(':');
  if (form === undefined || value === '' || form.fits(value)) return;
  throw new PkiError(
    'SELECTOR_INVALID',
    `no process ever has the selector ${JSON.stringify(selector.slice(0, 120))}: its value is ${form.form}`,
    { next: 'Correct the value; docs/entries.md lists the selectors.' },
  );
}
