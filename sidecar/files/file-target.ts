import { readFile, realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fail, ok, type Result } from '../../src/common/errors/index.ts';
import { SpiffeId } from '../../src/common/spiffe/index.ts';
import type { EffectiveUser } from '../../src/common/unix/effective-user.ts';
import { ownerOf, type AccountFiles, type Owner } from './accounts.ts';
import { defaultProofSeconds, driverSettingsSchema } from './drivers/index.ts';
import { layouts } from './layouts.ts';
import { filesOf, pemKinds, type FileKind } from './set-files.ts';
import { expectSafe } from './safe-path.ts';
import { readSpiffeHelper } from './spiffe-helper.ts';
import type { DriverChoice, FileTarget, SetLayout, SetPermissions } from './target.ts';
import type { TargetConfig } from './target-schema.ts';
import { Unwritable } from './unwritable.ts';

export interface TargetContext {
  readonly accounts: AccountFiles;
  readonly user: EffectiveUser;
  /** Of the agent, with its own keys or those of workloads. */
  readonly privateDirectories: readonly string[];
  /** The socket of the Workload API that this agent serves. */
  readonly socketPath: string;
}

const helperTimeoutSeconds = 30;

/**
 * The targets of a configuration, with the IDs of owners and the content of the files that it names.
 * Fails with CONFIG_INVALID, which names the target.
 */
export async function fileTargetsOf(
  configs: readonly TargetConfig[],
  context: TargetContext,
): Promise<Result<readonly FileTarget[]>> {
  const targets: FileTarget[] = [];
  for (const config of configs) {
    const target = await fileTargetOf(config, context);
    if (!target.ok) return fail('CONFIG_INVALID', `target ${config.name}: ${target.error.message}`);
    targets.push(target.value);
  }
  // two paths can lead to one directory
  const real = (path: string): Promise<string> => realpath(path).catch(() => path);
  const problem = overlapOf(
    await Promise.all(
      targets.map(async ({ name, directory }) => ({ name, directory: await real(directory) })),
    ),
    await Promise.all(context.privateDirectories.map(real)),
  );
  return problem === undefined ? ok(targets) : fail('CONFIG_INVALID', problem);
}

/** One target. Fails with CONFIG_INVALID. */
export async function fileTargetOf(
  config: TargetConfig,
  context: TargetContext,
): Promise<Result<FileTarget>> {
  const owner = await ownerOf(config, context.accounts);
  if (!owner.ok) return owner;
  const said =
    config.spiffeHelperConfig === undefined
      ? ok(saidBy(config))
      : await saidByHelper(config, config.spiffeHelperConfig, context);
  if (!said.ok) return said;
  const { directory, layout, driver, mode, keyMode } = said.value;
  const permissions = permissionsOf(config, owner.value, { mode, keyMode });
  const problem = problemOf(layout, permissions);
  if (problem !== undefined) return fail('CONFIG_INVALID', problem);
  const { name, keyType, promote, graceSeconds, spiffeId, rollout, listeners } = config;
  const { handshakes, timeoutSeconds = defaultProofSeconds(driver.type) } = config.proof;
  const proof = { handshakes, timeoutSeconds };
  return ok({
    ...{ name, directory, keyType, layout, permissions, driver, proof, promote, graceSeconds },
    spiffeId: spiffeId === undefined ? undefined : SpiffeId.of(spiffeId),
    rollout,
    listeners: listeners.map(({ address, serverName, protocol }) => ({
      ...{ address, serverName, protocol },
    })),
  });
}

interface Said {
  readonly directory: string;
  readonly layout: SetLayout;
  readonly driver: DriverChoice;
  readonly mode: number | undefined;
  readonly keyMode: number | undefined;
}

const octal = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : Number.parseInt(text, 8);

function saidBy(config: TargetConfig): Said {
  const { type = 'none', timeoutSeconds = helperTimeoutSeconds, ...settings } = config.driver ?? {};
  const preset = layouts[config.layout ?? 'default'];
  const names = Object.fromEntries(
    pemKinds.map((kind) => {
      const name = config.files[kind] ?? preset[kind];
      return [kind, name === false ? undefined : name];
    }),
  ) as Pick<SetLayout, (typeof pemKinds)[number]>;
  const { pkcs12, jks, links = preset.links, federatedFiles: federated } = config;
  return {
    directory: config.directory ?? '',
    layout: { ...names, links, federated, pkcs12, jks },
    driver: { type, settings, timeoutSeconds },
    mode: octal(config.mode),
    keyMode: octal(config.keyMode),
  };
}

async function saidByHelper(
  { signalledProgram, federatedFiles }: TargetConfig,
  path: string,
  { socketPath, user }: TargetContext,
): Promise<Result<Said>> {
  let text: string;
  try {
    // it names a command that the agent runs with its own rights
    expectSafe({ path, kind: 'file', trustRootGroup: false }, user);
    text = await readFile(path, 'utf8');
  } catch (thrown) {
    if (thrown instanceof Unwritable)
      return fail('CONFIG_INVALID', `${path} is not believed: ${thrown.message}`);
    const { code } = thrown as NodeJS.ErrnoException;
    return fail('CONFIG_INVALID', `${path} can not be read (${code ?? 'unknown error'})`);
  }
  const helper = readSpiffeHelper(text, path, { socketPath, signalledProgram });
  if (!helper.ok) return helper;
  const { directory, files, driver, mode, keyMode } = helper.value;
  if (resolve(directory) !== directory)
    return fail('CONFIG_INVALID', `${path}: cert_dir ${directory} is no absolute path`);
  for (const name of Object.values(files))
    if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/.test(name) || ['current', 'sets'].includes(name))
      return fail('CONFIG_INVALID', `${path}: ${name} is no name that a file of a set can have`);
  const [issue] = driverSettingsSchema(driver.type)?.safeParse(driver.settings).error?.issues ?? [];
  if (issue !== undefined)
    return fail(
      'CONFIG_INVALID',
      `${path}: the ${driver.type} driver refuses ${issue.path.join('.')}: ${issue.message}`,
    );
  const blank = { cert: undefined, chain: undefined, combined: undefined, crl: undefined };
  return ok({
    directory,
    layout: {
      ...{ ...blank, ...files, links: true, pkcs12: undefined, jks: undefined },
      federated: federatedFiles,
    },
    driver: { ...driver, timeoutSeconds: helperTimeoutSeconds },
    ...{ mode, keyMode },
  });
}

/** Safe where nothing is said: a group that is configured is there to read the key. */
function permissionsOf(
  { group, directoryMode }: TargetConfig,
  { uid, gid }: Owner,
  { mode, keyMode }: Pick<Said, 'mode' | 'keyMode'>,
): SetPermissions {
  return {
    ...{ uid, gid },
    mode: mode ?? 0o644,
    keyMode: keyMode ?? (group === undefined ? 0o600 : 0o640),
    directoryMode: Number.parseInt(directoryMode, 8),
  };
}

function problemOf(layout: SetLayout, permissions: SetPermissions): string | undefined {
  const names = filesOf(layout);
  const has = (...kinds: readonly FileKind[]): boolean =>
    kinds.some((kind) => names[kind] !== undefined);
  const seen = Object.values(names);
  if (new Set(seen).size < seen.length) return 'two files have the same name';
  if (!has('key', 'combined', 'pkcs12')) return 'no file has the key: key, combined or pkcs12';
  if (!has('fullchain', 'combined', 'pkcs12') && !(has('cert') && has('chain')))
    return 'no file has the chain: fullchain, combined, pkcs12, or cert with chain';
  const { uid, gid, mode, keyMode, directoryMode } = permissions;
  if ((keyMode & 0o007) !== 0) return 'everybody could read the key: give it mode 0600 or 0640';
  if (((mode | keyMode) & 0o022) !== 0) return 'others than the owner may write a file';
  if ((uid !== undefined || gid !== undefined) && (directoryMode & 0o011) === 0)
    return 'directoryMode keeps owner and group out of the directory of the set, which is of the agent';
  return undefined;
}

/** Sets of two targets in one tree would get into each other's way. In private ones are keys. */
export function overlapOf(
  targets: readonly { readonly name: string; readonly directory?: string | undefined }[],
  privateDirectories: readonly string[],
): string | undefined {
  for (const [index, { name, directory }] of targets.entries()) {
    for (const other of targets.slice(0, index))
      if (other.name === name) return `two targets have the name ${name}`;
    if (directory === undefined) continue;
    for (const other of privateDirectories)
      if (isWithin(directory, other) || isWithin(other, directory))
        return `the directory of target ${name} overlaps with ${other}, where the agent keeps keys`;
    for (const other of targets.slice(0, index)) {
      if (other.directory === undefined) continue;
      if (isWithin(directory, other.directory) || isWithin(other.directory, directory))
        return `the directories of targets ${other.name} and ${name} overlap: ${other.directory}, ${directory}`;
    }
  }
  return undefined;
}

/** Whether a path is another one or below it. Both absolute. */
const isWithin = (path: string, above: string): boolean =>
  path === above || path.startsWith(above.endsWith('/') ? above : `${above}/`);
