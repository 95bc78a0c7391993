import { fail, ok, type Result } from '../../src/common/errors/index.ts';
import { parseHcl, type HclObject, type HclValue } from './hcl.ts';

/** What a configuration of spiffe-helper says of a target. */
export interface SpiffeHelperTarget {
  /** `cert_dir` */
  readonly directory: string;
  readonly files: { readonly fullchain: string; readonly key: string; readonly ca: string };
  readonly mode: number;
  readonly keyMode: number;
  readonly driver: { readonly type: string; readonly settings: unknown };
}

export interface SpiffeHelperContext {
  /** The socket of the Workload API that this agent serves. */
  readonly socketPath: string;
  /** The program that the process of `pid_file_name` must run. */
  readonly signalledProgram: string | undefined;
}

type Refuse = (key: string, reason: string) => ReturnType<typeof fail>;

/** Keys for what file targets do not do. */
const notCarriedOut: Readonly<Record<string, string>> = {
  jwt_svids: 'file targets hold X.509-SVIDs alone',
  jwt_bundle_file_name: 'file targets hold X.509-SVIDs alone',
  jwt_bundle_file_mode: 'file targets hold X.509-SVIDs alone',
  jwt_svid_file_mode: 'file targets hold X.509-SVIDs alone',
  hint: 'choose the identity by spiffeId of the target',
};

/** Keys whose effect a target has only where they are off. */
const onlyOff: Readonly<Record<string, string>> = {
  add_intermediates_to_bundle: 'the issuers of the leaf stand behind it, as TLS demands',
  include_federated_domains:
    'in one file the roots of each trust domain would validate names of the others; ' +
    'federatedFiles of the target has a file for each',
  omit_expired: 'the roots are those of the trust bundle, whatever their end',
};

const known: ReadonlySet<string> = new Set([
  ...['agent_address', 'cmd', 'cmd_args', 'pid_file_name', 'cert_dir', 'daemon_mode'],
  ...['renew_signal', 'svid_file_name', 'svid_key_file_name', 'svid_bundle_file_name'],
  ...['cert_file_mode', 'key_file_mode', 'health_checks'],
  ...Object.keys(notCarriedOut),
  ...Object.keys(onlyOff),
]);

/**
 * Reads a configuration file of spiffe-helper (HCL) as it is. What a target does not do is refused with
 * the name of its key. Fails with CONFIG_INVALID.
 */
export function readSpiffeHelper(
  text: string,
  path: string,
  context: SpiffeHelperContext,
): Result<SpiffeHelperTarget> {
  const parsed = parseHcl(text);
  if (!parsed.ok) return fail('CONFIG_INVALID', `${path}: ${parsed.error.message}`);
  const refuse: Refuse = (key, reason) => fail('CONFIG_INVALID', `${path}: ${key}: ${reason}`);
  const values = parsed.value;
  const refused = unmet(values, context, refuse);
  if (refused !== undefined) return refused;
  const texts = textsOf(values, refuse);
  if (!texts.ok) return texts;
  const driver = driverOf(texts.value, context, refuse);
  if (!driver.ok) return driver;
  const mode = modeOf(values, 'cert_file_mode', 0o644, refuse);
  if (!mode.ok) return mode;
  const keyMode = modeOf(values, 'key_file_mode', 0o600, refuse);
  if (!keyMode.ok) return keyMode;
  const { cert_dir, svid_file_name, svid_key_file_name, svid_bundle_file_name } = texts.value;
  return ok({
    directory: cert_dir.replace(/(?<=.)\/+$/, ''),
    files: { fullchain: svid_file_name, key: svid_key_file_name, ca: svid_bundle_file_name },
    mode: mode.value,
    keyMode: keyMode.value,
    driver: driver.value,
  });
}

/** The first key that asks for more than a target does. */
function unmet(
  values: HclObject,
  { socketPath }: SpiffeHelperContext,
  refuse: Refuse,
): ReturnType<typeof fail> | undefined {
  for (const [key, value] of values) {
    if (!known.has(key)) return refuse(key, 'spiffe-helper has no such key');
    const reason = notCarriedOut[key];
    if (reason !== undefined && value !== '') return refuse(key, `is not carried out: ${reason}`);
    const off = onlyOff[key];
    if (off !== undefined && value !== false)
      return refuse(key, `is carried out only as false: ${off}`);
  }
  if ((values.get('daemon_mode') ?? true) !== true)
    return refuse('daemon_mode', 'is carried out only as true: the agent renews');
  const checks = values.get('health_checks');
  if (checks !== undefined && !(checks instanceof Map && checks.get('listener_enabled') === false))
    return refuse(
      'health_checks',
      'is carried out only with listener_enabled = false: ask the operations port of the agent (ops.port)',
    );
  const address = values.get('agent_address');
  if (address !== undefined && address !== socketPath && address !== `unix://${socketPath}`)
    return refuse(
      'agent_address',
      `is not the socket of this agent (${socketPath}), which writes the certificates: set it to that, or remove it`,
    );
  return undefined;
}

const textKeys = [
  ...(['cert_dir', 'svid_file_name', 'svid_key_file_name', 'svid_bundle_file_name'] as const),
  ...(['cmd', 'cmd_args', 'pid_file_name', 'renew_signal'] as const),
] as const;
type Texts = Readonly<Record<(typeof textKeys)[number], string>>;

function textsOf(values: HclObject, refuse: Refuse): Result<Texts> {
  const texts: Partial<Record<keyof Texts, string>> = {};
  for (const key of textKeys) {
    const value: HclValue = values.get(key) ?? '';
    if (typeof value !== 'string') return refuse(key, 'must be text');
    if (value === '' && /^cert_dir$|_file_name$/.test(key) && key !== 'pid_file_name')
      return refuse(key, 'is missing; a target has all three files');
    texts[key] = value;
  }
  return ok(texts as Texts);
}

function modeOf(values: HclObject, key: string, fallback: number, refuse: Refuse): Result<number> {
  const value = values.get(key);
  if (value === undefined) return ok(fallback);
  const digits =
    typeof value === 'object' && 'number' in value ? (value.number as string) : undefined;
  // spiffe-helper reads 444 as a decimal number, which means other permissions than it seems
  return digits !== undefined && /^0[0-7]{3}$/.test(digits)
    ? ok(Number.parseInt(digits, 8))
    : refuse(key, 'write it as an octal number with a leading zero, such as 0644');
}

/** What is done after a renewal: nothing, a command that ends, or a signal. */
function driverOf(
  { cmd, cmd_args, pid_file_name, renew_signal }: Texts,
  { signalledProgram }: SpiffeHelperContext,
  refuse: Refuse,
): Result<SpiffeHelperTarget['driver']> {
  if (cmd !== '') {
    if (pid_file_name !== '')
      return refuse('pid_file_name', 'is not carried out beside cmd: keep one of them');
    if (renew_signal !== '')
      return refuse(
        'renew_signal',
        'is not carried out for the process of cmd: let systemd run it, and give pid_file_name',
      );
    if (!cmd.startsWith('/')) return refuse('cmd', 'must be an absolute path');
    const args = argumentsOf(cmd_args);
    if (args === undefined) return refuse('cmd_args', 'has a quote that stands alone');
    return ok({ type: 'command', settings: { reload: [cmd, ...args] } });
  }
  if (cmd_args !== '') return refuse('cmd_args', 'stands without cmd');
  if (pid_file_name === '')
    return renew_signal === ''
      ? ok({ type: 'none', settings: {} })
      : refuse('renew_signal', 'stands without pid_file_name');
  if (renew_signal === '') return refuse('renew_signal', 'is missing beside pid_file_name');
  if (signalledProgram === undefined)
    return refuse(
      'pid_file_name',
      'needs signalledProgram of the target: the program that this process runs, so that no other process gets the signal',
    );
  return ok({
    type: 'signal',
    settings: { pidFile: pid_file_name, executable: signalledProgram, signal: renew_signal },
  });
}

/**
 * As spiffe-helper splits them: at each space, but for fields in double quotes, in which a doubled
 * quote stands for one. Undefined for a quote that is not closed, or stands inside of a field.
 */
function argumentsOf(text: string): readonly string[] | undefined {
  if (text === '') return [];
  const field = /(?:"((?:[^"]|"")*)"|([^" ]*))(?: |$)/y;
  const fields: string[] = [];
  let end = 0;
  while (end < text.length) {
    field.lastIndex = end;
    const found = field.exec(text);
    if (found === null) return undefined;
    fields.push(found[1]?.replaceAll('""', '"') ?? (found[2] as string));
    end = field.lastIndex;
  }
  return text.endsWith(' ') ? [...fields, ''] : fields;
}
