import { fail, PkiError, unwrap, type Result } from '../common/errors/index.ts';
import type { Policy } from '../common/policy/index.ts';
import type { IssuancePolicy__Output } from '../common/wire/generated/meshca/admin/v1/IssuancePolicy.ts';
import type { GlobalOptions } from './action.ts';
import { withAdmin } from './connect.ts';
import type { CliContext } from './context.ts';
import { readBytes } from './files.ts';

/** A version as the server has it. 0: the one in force. */
export const versionOf = (
  context: CliContext,
  options: GlobalOptions,
  version: number,
): Promise<IssuancePolicy__Output> =>
  withAdmin(context, options, 'Policies', (calls) => calls.call('GetPolicy', { version }));

const isVersion = (text: string): boolean => /^[1-9]\d{0,14}$/.test(text);

export function versionNumber(text: string): number {
  if (!isVersion(text))
    throw new PkiError('INVALID_REQUEST', `${JSON.stringify(text.slice(0, 40))} is no version`, {
      next: 'Name a version that "meshca policy list" shows.',
    });
  return Number(text);
}

export const textOf = (context: CliContext, path: string): Promise<string> | string =>
  path === '-' ? context.readStdin() : readBytes(path).toString('utf8');

/** The faults of a file, with its path. */
export const inFile = <T>(read: Result<T>, path: string): Result<T> =>
  read.ok
    ? read
    : fail(read.error.code, `${path}: ${read.error.message}`, { next: read.error.next });

/** A policy with its name for people. */
export interface NamedPolicy {
  readonly name: string;
  readonly text: string;
  /** Undefined: the built-in one, which allows everything that the rights of a caller allow. */
  readonly policy: Policy | undefined;
}

/** A file, `-`, a version by its number, or `in-force`. */
export async function namedPolicy(
  context: CliContext,
  options: GlobalOptions,
  source: string,
): Promise<NamedPolicy> {
  if (source === 'in-force' || isVersion(source)) {
    const version = source === 'in-force' ? 0 : Number(source);
    return storedPolicy(await versionOf(context, options, version));
  }
  return { name: source, ...(await policyOfText(await textOf(context, source), source)) };
}

export async function storedPolicy({
  version,
  text,
}: Pick<IssuancePolicy__Output, 'version' | 'text'>): Promise<NamedPolicy> {
  if (version === 0) return { name: 'the built-in policy', text: '', policy: undefined };
  const name = `version ${version}`;
  return { name, ...(await policyOfText(text, name)) };
}

/** zod is loaded only here, since loading it takes time. */
export async function policyOfText(
  text: string,
  name: string,
): Promise<{ readonly text: string; readonly policy: Policy }> {
  const { readPolicy } = await import('../common/policy/file.ts');
  return { text, policy: unwrap(inFile(readPolicy(text), name)) };
}
