import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:net';
import { systemClock } from '../src/common/runtime/index.ts';
import {
  clockCheck,
  directoryCheck,
  portCheck,
  ptraceCheck,
  versionCheck,
  type MachineCheck,
} from '../src/common/runtime/machine-checks.ts';
import type { AgentConfig } from './config.ts';

/** What a start of the agent would meet on this machine. Changes nothing and attests nothing. */
export async function checkAgentMachine({
  config,
  uid,
  nodeVersion,
}: {
  readonly config: AgentConfig;
  readonly uid: number;
  readonly nodeVersion: string;
}): Promise<readonly MachineCheck[]> {
  const { dataDir, bootstrap, ops, connection } = config;
  return [
    versionCheck(nodeVersion),
    directoryCheck('data directory', dataDir, uid),
    ...(bootstrap.bundlePath === undefined
      ? []
      : [
          existsSync(bootstrap.bundlePath)
            ? ({ what: 'bundle', state: 'ok', text: bootstrap.bundlePath } as const)
            : ({
                what: 'bundle',
                state: 'failed',
                text: `${bootstrap.bundlePath} is not there`,
                next: 'Put the bundle of the server there ("meshca bundle show").',
              } as const),
        ]),
    await serverCheck(config.serverAddress, connection.timeoutMs),
    await portCheck('operations port', ops.address, ops.port),
    clockCheck(systemClock.now(), [join(dataDir, 'bundle.json'), join(dataDir, 'svid.pem')]),
    ptraceCheck(),
  ];
}

function serverCheck(address: string, timeoutMs: number): Promise<MachineCheck> {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  const what = 'server';
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(address.slice(colon + 1)), timeout: timeoutMs });
    const end = (check: MachineCheck): void => {
      socket.destroy();
      resolve(check);
    };
    const failed = (reason: string): void =>
      end({
        what,
        state: 'failed',
        text: `${address} does not answer (${reason})`,
        next: 'Check serverAddress, that the server runs, and the firewalls between.',
      });
    socket.once('connect', () => end({ what, state: 'ok', text: `${address} answers` }));
    socket.once('timeout', () => failed('timeout'));
    socket.once('error', ({ code }: NodeJS.ErrnoException) => failed(code ?? 'error'));
  });
}
