import {
  failedHandshakes,
  renewals,
  requestsPerSecond,
  type DemoModel,
  type LogLine,
} from './model.ts';

/** One event as one line. */
export const plainLine = ({ at, text }: LogLine): string =>
  `${new Date(at * 1000).toISOString().replace('.000Z', 'Z')} ${text}\n`;

/** Printed every few seconds. */
export function trafficLine(model: DemoModel, nowMs: number): string {
  const { caller } = model.workloads;
  return plainLine({
    at: Math.floor(nowMs / 1000),
    tone: 'plain',
    text:
      `requests served ${caller.requests} (${requestsPerSecond(model)}/s), handshakes ` +
      `${caller.connections}, failed handshakes ${failedHandshakes(model)}, renewals ` +
      `${renewals(model)}`,
  });
}

/** For a terminal after its picture has been removed. */
export function farewell(model: DemoModel): string {
  const { caller } = model.workloads;
  return (
    `meshca demo: ${caller.requests} requests served, ${renewals(model)} renewals, ` +
    `${failedHandshakes(model)} failed handshakes. Start again any time: same trust domain, ` +
    'same keys.\n'
  );
}

export function summary(model: DemoModel): string {
  return `${JSON.stringify({
    seconds:
      model.firstRequestMs === undefined ? null : Math.round(model.firstRequestMs / 100) / 10,
    renewals: renewals(model),
    requests: model.workloads.caller.requests,
    failedHandshakes: failedHandshakes(model),
  })}\n`;
}

/** What a person can try while it runs, in another terminal. */
export const tryNext = (adminSocket: string, agentSocket: string): readonly string[] => [
  `export MESHCA_ADMIN_SOCKET=${adminSocket}`,
  'npm run -s meshca -- entry list',
  'npm run -s meshca -- certificate list',
  'npm run -s meshca -- authority rotate --kind issuing',
  `npm run -s meshca -- explain --socket ${agentSocket} --pid $$`,
];
