import { existsSync } from 'node:fs';
import { PkiError } from '../common/errors/index.ts';
import { silentLogger, systemClock } from '../common/runtime/index.ts';
import {
  clockCheck,
  directoryCheck,
  portCheck,
  versionCheck,
  type MachineCheck,
} from '../common/runtime/machine-checks.ts';
import { databasePath, usesRootToken, type ServerConfig } from '../config/index.ts';
import { openTokenAdmin } from '../hsm/index.ts';
import { tokenConfig, vaultSession } from './settings.ts';

export interface ServerDoctorDependencies {
  readonly config: ServerConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly execPath: string;
  readonly uid: number;
  readonly nodeVersion: string;
}

/**
 * Checks what a start would need on this machine. Makes no key and changes nothing. Each PIN is
 * tried once.
 */
export async function checkServerMachine(
  dependencies: ServerDoctorDependencies,
): Promise<readonly MachineCheck[]> {
  const { config, uid, nodeVersion } = dependencies;
  const { listen, ops, http, federation } = config;
  return [
    versionCheck(nodeVersion),
    directoryCheck('data directory', config.dataDir, uid),
    ...filesOf(config).map(fileCheck),
    ...(await tokenChecks(dependencies)),
    await portCheck('gRPC port', listen.address, listen.port),
    await portCheck('operations port', ops.address, ops.port),
    ...(http.plain.enabled
      ? [await portCheck('HTTP port', http.plain.address, http.plain.port)]
      : []),
    ...(http.tls.enabled ? [await portCheck('HTTPS port', http.tls.address, http.tls.port)] : []),
    ...(await Promise.all(
      endpointsOf(federation).map(([name, { address, port }]) => portCheck(name, address, port)),
    )),
    clockCheck(systemClock.now(), [databasePath(config)]),
  ];
}

interface Place {
  readonly address: string;
  readonly port: number;
}

const endpointsOf = ({
  web,
  spiffe,
}: ServerConfig['federation']): readonly (readonly [name: string, place: Place])[] => [
  ...(web === undefined ? [] : [['bundle endpoint (https_web)', web] as const]),
  ...(spiffe === undefined ? [] : [['bundle endpoint (https_spiffe)', spiffe] as const]),
];

/** The files that the configuration names and a start reads. */
const filesOf = ({
  hsm,
  ops,
  http,
  federation,
}: ServerConfig): readonly (readonly [string, string])[] =>
  (
    [
      ['PKCS#11 module', hsm.module],
      ['softhsm2.conf', hsm.softhsmConf],
      ['operations certificate', ops.tlsCertFile],
      ['operations key', ops.tlsKeyFile],
      ['HTTPS certificate', http.tls.enabled ? http.tls.certFile : undefined],
      ['HTTPS key', http.tls.enabled ? http.tls.keyFile : undefined],
      ['certificate of the bundle endpoint', federation.web?.certFile],
      ['key of the bundle endpoint', federation.web?.keyFile],
    ] as const
  ).flatMap(([name, path]) => (path === undefined ? [] : [[name, path] as const]));

const fileCheck = ([name, path]: readonly [string, string]): MachineCheck =>
  existsSync(path)
    ? { what: name, state: 'ok', text: path }
    : {
        what: name,
        state: 'failed',
        text: `${path} does not exist`,
        next: 'Correct the path, or install the package with this file.',
      };

async function tokenChecks({
  config,
  env,
  execPath,
}: ServerDoctorDependencies): Promise<readonly MachineCheck[]> {
  const logger = silentLogger;
  const vault = await vaultSession(config, systemClock, logger);
  const checks: MachineCheck[] = [];
  try {
    for (const role of [
      'issuing',
      ...(usesRootToken(config) ? (['root'] as const) : []),
      ...(config.hsm.standby === undefined ? [] : (['standby'] as const)),
    ] as const)
      checks.push(await tokenCheck(role));
  } finally {
    vault?.close();
  }
  return checks;

  async function tokenCheck(role: 'issuing' | 'root' | 'standby'): Promise<MachineCheck> {
    const name = `${role} token`;
    try {
      const token = await tokenConfig(config, role, { env, vault, logger });
      await using admin = await openTokenAdmin(token, { execPath, clock: systemClock, logger });
      return {
        what: name,
        state: admin === undefined ? 'failed' : 'ok',
        text: `${config.hsm[role]?.label ?? role} answers, its PIN is right`,
      };
    } catch (thrown) {
      const { code, message, next } = PkiError.from(thrown);
      return { what: name, state: 'failed', text: `${code}: ${message}`, next };
    }
  }
}
