import { readFile } from 'node:fs/promises';
import { fail, ok, type Result } from '../../src/common/errors/index.ts';

/** Where users and groups are looked up (passwd(5), group(5)). */
export interface AccountFiles {
  readonly passwd: string;
  readonly group: string;
}

export const systemAccounts: AccountFiles = { passwd: '/etc/passwd', group: '/etc/group' };

export interface Owner {
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

/**
 * The IDs of an owner and a group, each by name or number. Without a group a user has the group of its
 * account. Only the files of the machine are read, no directory service. Fails with CONFIG_INVALID.
 */
export async function ownerOf(
  {
    owner,
    group,
  }: { readonly owner?: string | number | undefined; readonly group?: string | number | undefined },
  files: AccountFiles,
): Promise<Result<Owner>> {
  const user = owner === undefined ? undefined : await lookUp(files.passwd, owner);
  if (user === undefined && typeof owner === 'string') return unknown('owner', owner, files.passwd);
  const uid = user?.id ?? (owner as number | undefined);
  if (group !== undefined) {
    const gid = typeof group === 'number' ? group : (await lookUp(files.group, group))?.id;
    return gid === undefined ? unknown('group', String(group), files.group) : ok({ uid, gid });
  }
  if (owner !== undefined && user === undefined)
    return fail('CONFIG_INVALID', `user ${owner} is not in ${files.passwd}: give its group too`);
  return ok({ uid, gid: user?.groupId });
}

const unknown = (key: string, name: string, path: string): ReturnType<typeof fail> =>
  fail('CONFIG_INVALID', `${key} ${name} is not in ${path}: correct it, or give the number`);

/** A line by its name, or by its number. */
async function lookUp(
  path: string,
  wanted: string | number,
): Promise<{ readonly id: number; readonly groupId: number } | undefined> {
  for (const line of (await readFile(path, 'utf8')).split('\n')) {
    const [name, , id, groupId] = line.split(':');
    if (id !== undefined && (typeof wanted === 'string' ? name === wanted : Number(id) === wanted))
      return { id: Number(id), groupId: Number(groupId) };
  }
  return undefined;
}
