import { constants } from 'node:fs';
import { join } from 'node:path';
import { ok, PkiError, type Result } from '../../src/common/errors/index.ts';
import type { EffectiveUser } from '../../src/common/unix/effective-user.ts';
import type { SetContent, SetDirectory, StoredSet } from './certificate-set.ts';
import type { FileOperations } from './file-operations.ts';
import { keyStoresOf } from './key-stores.ts';
import { newFiles, prepareDirectory, removeTree, syncDirectory } from './new-files.ts';
import { expectSafe } from './safe-path.ts';
import { filesOf, pemFilesOf } from './set-files.ts';
import { manifestName, manifestText, parseManifest } from './set-manifest.ts';
import type { FileTarget } from './target.ts';
import { Unwritable, unwritableBecause } from './unwritable.ts';

export interface SetDirectoryDependencies {
  readonly files: FileOperations;
  readonly user: EffectiveUser;
}

const setName = /^([1-9][0-9]{0,8})-([0-9a-f]{1,40})$/;
/** What a crash leaves behind: a set that was being written or removed. */
const remainsName = /^\.[1-9][0-9]{0,8}-[0-9a-f]{1,40}\.(new|old)$/;
const linkText = /^sets\/([^/]+)$/;
const newLink = '.current.new';
/**
 * In a volume of Kubernetes the kubelet makes this link anew at each change. Istio's agent and others
 * watch for that, and see no rename of any other link.
 */
const kubeletLink = '..data';

type SetTarget = Pick<FileTarget, 'directory' | 'layout' | 'permissions'>;

/**
 * Sets on a file system of Linux. A set is written in a directory of its own name with a dot, synced,
 * and gets its name by one rename.
 */
export class TargetSets implements SetDirectory {
  readonly #target: SetTarget;
  readonly #files: FileOperations;
  readonly #user: EffectiveUser;
  readonly #sets: string;
  readonly #link: string;
  /** One act at a time. */
  #acts: Promise<unknown> = Promise.resolve();

  constructor(target: SetTarget, { files, user }: SetDirectoryDependencies) {
    this.#target = target;
    this.#files = files;
    this.#user = user;
    this.#sets = join(target.directory, 'sets');
    this.#link = join(target.directory, 'current');
  }

  list(): Promise<readonly StoredSet[]> {
    return this.#look(async () => {
      const sets = await Promise.all((await this.#names()).map((name) => this.#read(name)));
      return sets.filter((set) => set !== undefined).sort((a, b) => a.number - b.number);
    });
  }

  current(): Promise<StoredSet | undefined> {
    return this.#look(async () => {
      const name = await this.#currentName();
      return name === undefined ? undefined : this.#read(name);
    });
  }

  write(content: SetContent): Promise<Result<StoredSet>> {
    return this.#act(async () => {
      await this.#expectFit();
      await prepareDirectory(this.#files, this.#sets, this.#ownership());
      await syncDirectory(this.#files, this.#target.directory);
      // also above those of torn sets
      const number = 1 + Math.max(0, ...(await this.#names()).map(numberOf));
      await this.#removeRemains();
      const name = `${number}-${content.serial}`;
      if (!setName.test(name)) throw new Unwritable(`${name} is no name of a set`);
      await this.#writeAs(name, number, content);
      const set = await this.#read(name);
      if (set === undefined) throw new Unwritable(`the set ${name} is not as it was written`);
      return set;
    });
  }

  swap(set: StoredSet): Promise<Result<void>> {
    return this.#act(async () => {
      await this.#expectFit();
      if ((await this.#read(set.name)) === undefined)
        throw new Unwritable(
          `the set ${set.name} is not there as a whole`,
          'Stage a new set: meshca set stage TARGET.',
        );
      await this.#makeLinks();
      await this.#replaceLink(this.#link, `sets/${set.name}`);
      if (this.#target.layout.links)
        await this.#replaceLink(join(this.#target.directory, kubeletLink), 'current');
    });
  }

  unlink(): Promise<Result<void>> {
    return this.#act(async () => {
      await this.#expectFit();
      await this.#removeFile(this.#link);
      await syncDirectory(this.#files, this.#target.directory);
    });
  }

  remove(set: StoredSet): Promise<Result<void>> {
    return this.#act(async () => {
      await this.#expectFit();
      if (!setName.test(set.name)) throw new Unwritable(`${set.name} is no name of a set`);
      if ((await this.#currentName()) === set.name)
        throw new Unwritable(
          `the set ${set.name} is served`,
          'Serve another set first: meshca set promote TARGET.',
        );
      const gone = join(this.#sets, `.${set.name}.old`);
      await removeTree(this.#files, gone);
      // the name goes first, so that no half of a set is ever listed
      await this.#files.rename(join(this.#sets, set.name), gone).catch(ignoreMissing);
      await syncDirectory(this.#files, this.#sets);
      await removeTree(this.#files, gone);
    });
  }

  #ownership() {
    const { uid, gid, mode, keyMode, directoryMode } = this.#target.permissions;
    return {
      user: this.#user,
      uid: uid ?? this.#user.uid,
      gid: gid ?? this.#user.gid,
      ...{ mode, keyMode, directoryMode },
    };
  }

  async #writeAs(name: string, number: number, content: SetContent): Promise<void> {
    const place = join(this.#sets, `.${name}.new`);
    const { layout } = this.#target;
    try {
      await this.#files.mkdir(place, { mode: 0o700 });
      const files = [
        ...pemFilesOf(layout, content),
        ...(await keyStoresOf(layout, content, place, this.#files)),
      ];
      const manifest = manifestText(number, content, files);
      await newFiles(this.#files, place, { files, manifest }, this.#ownership());
      await prepareDirectory(this.#files, place, this.#ownership());
      await syncDirectory(this.#files, place);
      await this.#files.rename(place, join(this.#sets, name));
      await syncDirectory(this.#files, this.#sets);
    } catch (thrown) {
      // what can not be removed now is removed before the next set is written
      await removeTree(this.#files, place).catch(() => {});
      await this.#discard(name);
      throw thrown;
    }
  }

  /** The rename may have come before the failure. */
  async #discard(name: string): Promise<void> {
    const gone = join(this.#sets, `.${name}.old`);
    await this.#files.rename(join(this.#sets, name), gone).catch(() => {});
    await removeTree(this.#files, gone).catch(() => {});
  }

  /** Nobody else may have a hand in it, and what we did not make is not replaced. */
  async #expectFit(): Promise<void> {
    const { directory, layout } = this.#target;
    this.#expectSafe(directory);
    await this.#expectLink(this.#link, (text) => linkText.test(text));
    if (layout.links) {
      await this.#expectLink(join(directory, kubeletLink), (text) => text === 'current');
      for (const name of Object.values(filesOf(layout)))
        await this.#expectLink(join(directory, name), (text) => text === `current/${name}`);
    }
    const sets = await this.#files.lstat(this.#sets).catch(ignoreMissing);
    if (sets === undefined) return;
    if (sets.isSymbolicLink()) throw new Unwritable(`${this.#sets} is a symbolic link`);
    this.#expectSafe(this.#sets);
  }

  #expectSafe(path: string): void {
    expectSafe({ path, kind: 'directory', trustRootGroup: false }, this.#user);
  }

  async #expectLink(path: string, isOurs: (text: string) => boolean): Promise<void> {
    const found = await this.#files.lstat(path).catch(ignoreMissing);
    if (found === undefined) return;
    const ours =
      found.isSymbolicLink() &&
      (found.uid === 0 || found.uid === this.#user.uid) &&
      isOurs(await this.#files.readlink(path));
    if (!ours)
      throw new Unwritable(
        `${path} is there already, and the agent did not make it`,
        `Move ${path} away, or give the target another directory or other names of files.`,
      );
  }

  async #replaceLink(path: string, text: string): Promise<void> {
    const { directory } = this.#target;
    const fresh = join(directory, newLink);
    await this.#removeFile(fresh);
    await this.#files.symlink(text, fresh);
    await this.#files.rename(fresh, path);
    await syncDirectory(this.#files, directory);
  }

  /** Paths that stay, into the set that changes. */
  async #makeLinks(): Promise<void> {
    const { directory, layout } = this.#target;
    if (!layout.links) return;
    for (const name of Object.values(filesOf(layout)))
      await this.#files.symlink(`current/${name}`, join(directory, name)).catch(ignoreThere);
  }

  async #removeRemains(): Promise<void> {
    const current = await this.#currentName();
    for (const name of await this.#files.readdir(this.#sets)) {
      const torn = setName.test(name) && name !== current && (await this.#read(name)) === undefined;
      if (torn || remainsName.test(name)) await removeTree(this.#files, join(this.#sets, name));
    }
  }

  async #removeFile(path: string): Promise<void> {
    await this.#files.unlink(path).catch(ignoreMissing);
  }

  async #names(): Promise<readonly string[]> {
    const names = await this.#files.readdir(this.#sets).catch(ignoreMissing);
    return (names ?? []).filter((name) => setName.test(name));
  }

  async #currentName(): Promise<string | undefined> {
    const text = await this.#files.readlink(this.#link).catch((thrown: unknown) => {
      // EINVAL: something else stands there
      if ((thrown as NodeJS.ErrnoException).code === 'EINVAL') return undefined;
      return ignoreMissing(thrown);
    });
    const name = linkText.exec(text ?? '')?.[1];
    return name !== undefined && setName.test(name) ? name : undefined;
  }

  /** Undefined unless everything of the set is there, by name and size. */
  async #read(name: string): Promise<StoredSet | undefined> {
    const directory = join(this.#sets, name);
    const text = await this.#readText(join(directory, manifestName));
    const manifest = text === undefined ? undefined : parseManifest(text);
    if (manifest === undefined || `${manifest.number}-${manifest.serial}` !== name)
      return undefined;
    for (const { name: file, bytes } of manifest.files) {
      const found = await this.#files.lstat(join(directory, file)).catch(ignoreMissing);
      if (found === undefined || !found.isFile() || found.size !== bytes) return undefined;
    }
    const { number, serial, leafSha256, notBefore, notAfter, authoritySetDigest, forNames } =
      manifest;
    return {
      ...{ name, number, serial, directory, leafSha256 },
      ...{ notBefore, notAfter, authoritySetDigest, forNames },
    };
  }

  async #readText(path: string): Promise<string | undefined> {
    // nobody waits for the writer of a FIFO
    const flag = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const text = await this.#files
      .readFile(path, { encoding: 'utf8', flag })
      .catch((thrown: unknown) => {
        if ((thrown as NodeJS.ErrnoException).code === 'ELOOP') return undefined;
        return ignoreMissing(thrown);
      });
    return text;
  }

  async #look<T>(look: () => Promise<T>): Promise<T> {
    try {
      return await look();
    } catch (thrown) {
      throw unwritableBecause(this.#target.directory, thrown).error;
    }
  }

  #act<T>(act: () => Promise<T>): Promise<Result<T>> {
    const result = this.#acts.then(async (): Promise<Result<T>> => {
      try {
        return ok(await act());
      } catch (thrown) {
        if (thrown instanceof PkiError) return { ok: false, error: thrown };
        return unwritableBecause(this.#target.directory, thrown);
      }
    });
    this.#acts = result;
    return result;
  }
}

const numberOf = (name: string): number => Number(setName.exec(name)?.[1]);

function ignoreMissing(thrown: unknown): undefined {
  if (!['ENOENT', 'ENOTDIR'].includes((thrown as NodeJS.ErrnoException).code ?? '')) throw thrown;
}

function ignoreThere(thrown: unknown): undefined {
  if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
}
