import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { join } from 'node:path';
import type { SetContent } from './certificate-set.ts';
import type { FileOperations } from './file-operations.ts';
import { pkcs12Of } from './pkcs12.ts';
import type { SetFile } from './set-files.ts';
import type { KeyStoreFile, SetLayout } from './target.ts';
import { Unwritable } from './unwritable.ts';

const keytoolTimeoutMs = 60_000;
/** keytool takes no shorter one. */
const shortestJksPassword = 6;

/**
 * The key stores of a layout. `scratch` is a directory that nobody but the agent can enter; nothing
 * of what is written there remains. Throws Unwritable.
 */
export async function keyStoresOf(
  { pkcs12, jks }: SetLayout,
  content: SetContent,
  scratch: string,
  files: FileOperations,
): Promise<readonly SetFile[]> {
  const stores: SetFile[] = [];
  if (pkcs12 !== undefined)
    stores.push({
      kind: 'pkcs12',
      name: pkcs12.name,
      content: await pkcs12File(pkcs12, content, files),
    });
  if (jks !== undefined)
    stores.push({
      kind: 'jks',
      name: jks.name,
      content: await jksFile(jks, content, scratch, files),
    });
  return stores;
}

async function pkcs12File(
  { passwordFile, alias }: KeyStoreFile,
  { chainDer, privateKeyPkcs8Der }: SetContent,
  files: FileOperations,
): Promise<Buffer> {
  const password = await readPassword(passwordFile, files);
  return pkcs12Of({ chainDer, privateKeyPkcs8Der, alias, password });
}

/**
 * The line of a password file. The file must be closed to others, since it opens the key. Throws
 * Unwritable.
 */
export async function readPassword(path: string, files: FileOperations): Promise<string> {
  const refused = (reason: string, next: string): Unwritable =>
    new Unwritable(`the password file ${path} ${reason}`, next);
  const handle = await files
    .open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    .catch((thrown: unknown) => {
      throw refused(
        `can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'unknown error'})`,
        'Make the file, and let the user of the agent read it.',
      );
    });
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw refused('is no plain file', 'Name a plain file.');
    if ((found.mode & 0o007) !== 0)
      throw refused('is open to everybody', `Close it: chmod o-rwx ${path}`);
    const password = (await handle.readFile('latin1')).replace(/\r?\n$/, '');
    if (!/^[ -~]+$/.test(password))
      throw refused(
        'has not exactly one line of printable ASCII',
        'Write the password on one line. Programs do not agree on other letters in key stores.',
      );
    return password;
  } finally {
    await handle.close();
  }
}

async function jksFile(
  { passwordFile, alias }: KeyStoreFile,
  { chainDer, privateKeyPkcs8Der }: SetContent,
  scratch: string,
  files: FileOperations,
): Promise<Buffer> {
  const password = await readPassword(passwordFile, files);
  if (password.length < shortestJksPassword)
    throw new Unwritable(
      `the password in ${passwordFile} has less than ${shortestJksPassword} letters, which keytool refuses`,
      `Take a password of ${shortestJksPassword} letters or more.`,
    );
  const [source, made, secret] = ['.source.p12', '.made.jks', '.password'].map((name) =>
    join(scratch, name),
  ) as [string, string, string];
  try {
    const pfx = await pkcs12Of({ chainDer, privateKeyPkcs8Der, alias, password });
    await write(files, source, pfx);
    await write(files, secret, Buffer.from(password, 'latin1'));
    await keytool([
      ...['-importkeystore', '-noprompt', '-srcalias', alias, '-destalias', alias],
      ...['-srckeystore', source, '-srcstoretype', 'PKCS12', '-srcstorepass:file', secret],
      ...['-destkeystore', made, '-deststoretype', 'JKS', '-deststorepass:file', secret],
      ...['-destkeypass:file', secret],
    ]);
    return await files.readFile(made);
  } finally {
    for (const path of [source, made, secret]) await files.unlink(path).catch(() => {});
  }
}

async function write(files: FileOperations, path: string, content: Buffer): Promise<void> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const handle = await files.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    await handle.writeFile(content);
  } finally {
    await handle.close();
  }
}

/** Passwords go through files: arguments of a process can be read by others. */
const keytool = (args: readonly string[]): Promise<void> =>
  new Promise((resolve, reject) => {
    execFile(
      'keytool',
      [...args],
      { timeout: keytoolTimeoutMs, killSignal: 'SIGKILL' },
      (error, stdout) => {
        if (error === null) return resolve();
        if (error.code === 'ENOENT')
          return reject(
            new Unwritable(
              'a JKS file is configured, and keytool is not installed',
              'Install a Java runtime, so that keytool is in the PATH of the agent. Or use pkcs12, ' +
                'which Java reads in its place.',
            ),
          );
        const [line] = stdout.split('\n').filter((each) => each !== '');
        reject(
          new Unwritable(
            `keytool did not make the JKS file: ${line ?? error.message}`,
            'Look whether the password and alias are such as keytool takes.',
          ),
        );
      },
    );
  });
