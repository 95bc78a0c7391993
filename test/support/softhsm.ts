import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { softHsmModulePath as findModule } from '#softhsm/module-path.mjs';

const run = promisify(execFile);

export interface TestToken {
  readonly label: string;
  readonly pin: string;
  /** The file that holds `pin`, for configurations that name a file. */
  readonly pinFile: string;
}

export interface TestTokens extends AsyncDisposable {
  readonly modulePath: string;
  readonly confPath: string;
  /**
   * What a process that loads the module needs in its environment; SoftHSM reads it in
   * C_Initialize.
   */
  readonly environment: { readonly SOFTHSM2_CONF: string };
  readonly tokens: { readonly issuing: TestToken; readonly root: TestToken };
  /**
   * Folder of everything here; `tokenDir` is the part that holds the keys (move it away to lose the
   * HSM).
   */
  readonly dir: string;
  readonly tokenDir: string;
}

/**
 * Path of the SoftHSM module of this machine. Throws where there is none: a missing token fails a
 * test, it is not skipped.
 */
export function softHsmModulePath(): string {
  const path = findModule(process.env);
  if (path === undefined)
    throw new Error('SoftHSM is not installed: run "npm run setup -- --for=test"');
  return path;
}

/**
 * Two fresh SoftHSM tokens in a temporary folder, which disposal removes. They are initialised in a
 * process of their own, so that this one can load the module later, or never. Takes about 0.15 s.
 */
export async function createTokens(
  options: { readonly labels?: { readonly issuing?: string; readonly root?: string } } = {},
): Promise<TestTokens> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-softhsm-'));
  const dispose = (): Promise<void> => rm(dir, { recursive: true, force: true });
  try {
    const labels = { issuing: 'meshca-issuing', root: 'meshca-root', ...options.labels };
    const script = fileURLToPath(import.meta.resolve('#softhsm/init.mjs'));
    const { stdout } = await run(process.execPath, [
      script,
      '--dir',
      dir,
      '--module',
      softHsmModulePath(),
      '--issuing-label',
      labels.issuing,
      '--root-label',
      labels.root,
      '--json',
    ]);
    const made = JSON.parse(stdout) as {
      readonly modulePath: string;
      readonly confPath: string;
      readonly tokenDir: string;
      readonly tokens: Record<
        'issuing' | 'root',
        { readonly label: string; readonly pinFile: string }
      >;
    };
    const read = async ({
      label,
      pinFile,
    }: {
      readonly label: string;
      readonly pinFile: string;
    }): Promise<TestToken> => ({
      label,
      pinFile,
      pin: await readFile(pinFile, 'utf8'),
    });
    return {
      modulePath: made.modulePath,
      confPath: made.confPath,
      environment: { SOFTHSM2_CONF: made.confPath },
      tokens: { issuing: await read(made.tokens.issuing), root: await read(made.tokens.root) },
      dir,
      tokenDir: made.tokenDir,
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}
