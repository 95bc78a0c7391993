import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { foreignProgram, type Judge } from './foreign-programs.ts';

const run = promisify(execFile);

export const purposes = ['server', 'client'] as const;

/** A question to a program of test/interop/judges. */
export interface Case {
  readonly name: string;
  readonly purpose: (typeof purposes)[number];
  readonly chain: readonly Buffer[];
  readonly root: Buffer;
  /** Look the leaf up where it says. Go and Java alone. */
  readonly revocation?: 'crl' | 'ocsp';
  /** Accept a leaf of which nothing is learnt. Java alone. */
  readonly soft?: boolean;
  /** Decide as a TLS client. Java alone. */
  readonly trustManager?: boolean;
}

export interface Verdict {
  readonly name: string;
  readonly accepted: boolean;
  readonly why?: string;
  readonly lints?: readonly string[];
}

const base64 = (der: Buffer): string => der.toString('base64');

/** Puts all cases to a judge and gives its verdicts by the case's name. */
export async function ask(
  judge: Judge,
  cases: readonly Case[],
): Promise<ReadonlyMap<string, Verdict>> {
  const [program = '', ...args] = foreignProgram('judges')[judge];
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  for (const { chain, root, ...rest } of cases)
    child.stdin.write(
      `${JSON.stringify({ ...rest, chain: chain.map(base64), root: base64(root) })}\n`,
    );
  child.stdin.end();
  assert.equal(await ended, 0);
  const verdicts = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Verdict);
  assert.equal(verdicts.length, cases.length);
  return new Map(verdicts.map((verdict) => [verdict.name, verdict]));
}

/** What NSS's `vfychain` says, on a fresh database in this folder that trusts the root. */
export async function vfychain(folder: string, { chain, root, purpose }: Case): Promise<string> {
  const database = await mkdtemp(join(folder, 'nss-'));
  const [manage = ''] = foreignProgram('certutil');
  const [verify = ''] = foreignProgram('vfychain');
  const at = ['-d', `sql:${database}`];
  await run(manage, ['-N', ...at, '--empty-password']);
  const [rootPath = '', ...paths] = await Promise.all(
    [root, ...chain].map(async (der, index) => {
      const path = join(database, `${index}.der`);
      await writeFile(path, der);
      return path;
    }),
  );
  await run(manage, ['-A', ...at, '-n', 'root', '-t', 'CT,C,C', '-i', rootPath]);
  // 0: client, 1: server
  const usage = purpose === 'server' ? '1' : '0';
  return run(verify, ['-pp', ...at, '-u', usage, ...paths]).then(
    ({ stdout, stderr }) => `${stdout}${stderr}`,
    (error: { stdout: string; stderr: string }) => `${error.stdout}${error.stderr}`,
  );
}
