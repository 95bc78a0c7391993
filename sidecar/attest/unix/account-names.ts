import { readFileSync, statSync } from 'node:fs';

export interface AccountNames {
  userName(uid: number): string | undefined;
  groupName(gid: number): string | undefined;
}

/**
 * Names from passwd(5) and group(5) files only. NSS (LDAP, sssd) is left out on purpose: a lookup
 * there may block on the network, and an outage of a directory must not decide who gets an
 * identity. Select users of a directory by uid. A file is read again when its inode, size or times
 * change.
 */
export function fileAccountNames(
  files: { readonly passwd?: string; readonly group?: string } = {},
): AccountNames {
  const users = nameFile(files.passwd ?? '/etc/passwd');
  const groups = nameFile(files.group ?? '/etc/group');
  return { userName: (uid) => users().get(uid), groupName: (gid) => groups().get(gid) };
}

function nameFile(path: string): () => ReadonlyMap<number, string> {
  let version: string | undefined;
  let names: ReadonlyMap<number, string> = new Map();
  return () => {
    try {
      const { ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
      const found = `${ino}:${size}:${mtimeNs}:${ctimeNs}`;
      if (found === version) return names;
      names = parseAccounts(readFileSync(path, 'utf8'));
      version = found;
    } catch {
      names = new Map();
      version = undefined;
    }
    return names;
  };
}

/**
 * Account names as passwd(5) may hold them, for example `svc+web`, `müller` and `DOM\alice`. No
 * blank, no control character, nothing with a meaning in selectors.
 */
const accountName = /^[^\s\p{C}:,/+~-][^\s\p{C}:,/]{0,255}$/u;

/**
 * Parses lines of `name:password:id:…`. The first name of an ID counts, as in getpwuid(3). NIS
 * lines (`+`, `-`) are skipped.
 */
export function parseAccounts(text: string): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const each of text.split('\n')) {
    const [name, , id] = each.split(':', 3);
    if (
      name === undefined ||
      id === undefined ||
      !accountName.test(name) ||
      !/^[0-9]{1,10}$/.test(id)
    )
      continue;
    if (!names.has(Number(id))) names.set(Number(id), name);
  }
  return names;
}
