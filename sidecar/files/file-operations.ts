import * as fs from 'node:fs/promises';

/** What a set directory does with the file system. Tests interrupt it between two steps. */
export type FileOperations = Pick<
  typeof fs,
  | 'open'
  | 'mkdir'
  | 'rename'
  | 'symlink'
  | 'unlink'
  | 'rmdir'
  | 'lstat'
  | 'readlink'
  | 'readdir'
  | 'readFile'
>;

export const fileOperations: FileOperations = fs;
