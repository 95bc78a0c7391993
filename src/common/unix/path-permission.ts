import { accessSync, constants, statSync, type Stats } from 'node:fs';
import { dirname, isAbsolute } from 'node:path';
import { PkiError } from '../errors/index.ts';
import { effectiveUser } from './effective-user.ts';

const permissionCodes: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS']);

/** What a permission denies, and where. */
interface Barrier {
  readonly path: string;
  /** Of chmod(1). */
  readonly needed: 'r' | 'w' | 'x' | 'wx' | 'rx';
  readonly purpose: string;
  readonly readOnly: boolean;
}

/**
 * The error PATH_NOT_PERMITTED, if an error of the operating system says that this process may not
 * use a path. Undefined for any other error. The causes of the error are checked as well.
 */
export function permissionError(thrown: unknown): PkiError | undefined {
  for (let error = thrown, depth = 0; error instanceof Error && depth < 5; depth += 1) {
    const { code, path, address } = error as NodeJS.ErrnoException & { readonly address?: string };
    const at = path ?? (address?.startsWith('/') === true ? address : undefined);
    if (code !== undefined && permissionCodes.has(code) && at !== undefined)
      return notPermitted(at, thrown) ?? unexplained(at, code, thrown);
    error = error.cause;
  }
  return undefined;
}

/**
 * The error PATH_NOT_PERMITTED, if this process may not read the path, or may not write or make it.
 * Otherwise undefined. For libraries that hide the answer of the operating system.
 */
export function notPermitted(
  path: string,
  cause?: unknown,
  wanted: 'read' | 'write' = 'write',
): PkiError | undefined {
  const barrier = isAbsolute(path) ? barrierOf(path, wanted) : undefined;
  if (barrier === undefined) return undefined;
  if (barrier.readOnly)
    return new PkiError(
      'PATH_NOT_PERMITTED',
      `${path}: ${barrier.path} is on a read-only file system`,
      {
        cause,
        grade: 'fatal',
        next: `Mount the file system of ${barrier.path} writable, or name another path in the configuration.`,
      },
    );
  return new PkiError(
    'PATH_NOT_PERMITTED',
    `user ${effectiveUser().uid} may not ${barrier.purpose}: ${ownership(barrier.path)}, ` +
      `and "${barrier.needed}" is needed`,
    { cause, grade: 'fatal', detail: { path: barrier.path } },
  );
}

const unexplained = (path: string, code: string, cause: unknown): PkiError =>
  new PkiError(
    'PATH_NOT_PERMITTED',
    `user ${effectiveUser().uid} may not use ${path} (${code}): ${ownership(path)}`,
    { cause, grade: 'fatal', detail: { path } },
  );

function ownership(path: string): string {
  const found = statOf(path);
  if (found === undefined) return `${path} is not there`;
  const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
  return `${path} belongs to user ${found.uid} and group ${found.gid} and has mode ${mode}`;
}

function barrierOf(path: string, wanted: 'read' | 'write'): Barrier | undefined {
  const parent = dirname(path);
  if (parent !== path) {
    const above = barrierOf(parent, wanted);
    // a file may be read where its folder may only be entered
    if (above !== undefined && above.path !== parent) return above;
    if (denied(parent, constants.X_OK))
      return { path: parent, needed: 'x', purpose: `enter ${parent}`, readOnly: false };
  }
  const found = statOf(path);
  if (found === undefined) {
    const folder = statOf(parent);
    return wanted === 'write' && folder?.isDirectory() === true && denied(parent, constants.W_OK)
      ? { path: parent, needed: 'wx', purpose: `make ${path}`, readOnly: isReadOnly(parent) }
      : undefined;
  }
  const folder = found.isDirectory();
  if (denied(path, folder ? constants.R_OK | constants.X_OK : constants.R_OK))
    return { path, needed: folder ? 'rx' : 'r', purpose: `read ${path}`, readOnly: false };
  if (wanted === 'write' && denied(path, constants.W_OK))
    return {
      path,
      needed: folder ? 'wx' : 'w',
      purpose: `write ${folder ? 'into ' : ''}${path}`,
      readOnly: isReadOnly(path),
    };
  return undefined;
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

const codeOf = (path: string, mode: number): string | undefined => {
  try {
    accessSync(path, mode);
    return undefined;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code;
  }
};
const denied = (path: string, mode: number): boolean =>
  permissionCodes.has(codeOf(path, mode) ?? '');
const isReadOnly = (path: string): boolean => codeOf(path, constants.W_OK) === 'EROFS';
