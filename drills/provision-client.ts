import { tlsMaterial } from '../src/workload/tls-material.ts';
import { X509Source } from '../src/workload/index.ts';
import type { Served } from './conversation.ts';
import { ServerLoad, type LoadFigures } from './server-load.ts';

// A workload that talks to servers all the time, under mutual TLS, and tells what it sees.
//
//   node provision-client.js AGENT_SOCKET PAUSE_MS SERVED_JSON

export interface FromClient {
  readonly number: number;
  readonly figures: Readonly<Record<string, LoadFigures>>;
}
export interface ToClient {
  /** The report is wanted under this number. */
  readonly number: number;
}

const [, , socketPath, pause, servedJson] = process.argv as [
  string,
  string,
  string,
  string,
  string,
];
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => undefined);

const source = await X509Source.connect({ socketPath, waitMs: 120_000 });
const loads = new Map(
  (JSON.parse(servedJson) as readonly Served[]).map((served) => [
    served.name,
    new ServerLoad(served, () => tlsMaterial(source.svid, source.bundles), Number(pause)),
  ]),
);
for (const load of loads.values()) load.start();
process.on('message', ({ number }: ToClient) => {
  const figures = Object.fromEntries([...loads].map(([name, load]) => [name, load.figures()]));
  process.send?.({ number, figures } satisfies FromClient);
});
