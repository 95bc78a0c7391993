/** The model that a person sees. Only `apply` changes it; picture.ts and plain.ts display it. */
export type WorkloadName = 'greeter' | 'caller';
export type PartState = 'waiting' | 'starting' | 'ready' | 'degraded' | 'stopped' | 'failed';

/** What a demo workload tells its parent. */
export type WorkloadReport =
  | {
      readonly type: 'identity';
      readonly id: string;
      readonly serial: string;
      readonly notBefore: number;
      readonly notAfter: number;
      readonly issuer: string;
      readonly renewal: boolean;
    }
  | { readonly type: 'listening'; readonly port: number }
  | {
      readonly type: 'traffic';
      readonly requests: number;
      readonly failedRequests: number;
      readonly connections: number;
      readonly failedHandshakes: number;
      readonly lastFailure: string | undefined;
    }
  | { readonly type: 'problem'; readonly code: string; readonly message: string };

export type DemoEvent =
  | { readonly kind: 'step'; readonly text: string }
  | { readonly kind: 'server'; readonly state: PartState; readonly detail?: string }
  | { readonly kind: 'agent'; readonly state: PartState; readonly detail?: string }
  | {
      readonly kind: 'facts';
      readonly trustDomain?: string;
      readonly hsm?: string;
      readonly root?: AuthorityFacts;
      readonly issuing?: AuthorityFacts;
      readonly issued?: number;
    }
  | { readonly kind: 'workload'; readonly name: WorkloadName; readonly report: WorkloadReport }
  | { readonly kind: 'problem'; readonly text: string };

export interface AuthorityFacts {
  readonly text: string;
  readonly notAfter: number | undefined;
}

export interface HeldIdentity {
  readonly id: string;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** Key identifier of the authority that signed it, hex. */
  readonly issuer: string;
  /** When it arrived here, since the start of a certificate is backdated. */
  readonly receivedAt: number;
}

export interface WorkloadView {
  held: HeldIdentity | undefined;
  renewals: number;
  requests: number;
  failedRequests: number;
  connections: number;
  failedHandshakes: number;
  lastFailure: string | undefined;
}

export interface LogLine {
  readonly at: number;
  readonly text: string;
  readonly tone: 'plain' | 'good' | 'bad';
}

export interface DemoModel {
  readonly startedAtMs: number;
  trustDomain: string;
  step: string;
  hsm: string;
  root: AuthorityFacts | undefined;
  issuing: AuthorityFacts | undefined;
  issued: number | undefined;
  server: { state: PartState; detail: string };
  agent: { state: PartState; detail: string };
  readonly workloads: Record<WorkloadName, WorkloadView>;
  /** Until the first request was served in mTLS. */
  firstRequestMs: number | undefined;
  /** Requests in each of the last seconds, the running one last. */
  readonly perSecond: number[];
  readonly log: LogLine[];
}

export const logLimit = 200;
export const perSecondLimit = 120;

const emptyWorkload = (): WorkloadView => ({
  held: undefined,
  renewals: 0,
  requests: 0,
  failedRequests: 0,
  connections: 0,
  failedHandshakes: 0,
  lastFailure: undefined,
});

export const newModel = (startedAtMs: number): DemoModel => ({
  startedAtMs,
  trustDomain: '',
  step: '',
  hsm: '',
  root: undefined,
  issuing: undefined,
  issued: undefined,
  server: { state: 'waiting', detail: '' },
  agent: { state: 'waiting', detail: '' },
  workloads: { greeter: emptyWorkload(), caller: emptyWorkload() },
  firstRequestMs: undefined,
  perSecond: [0],
  log: [],
});

export const renewals = (model: DemoModel): number =>
  model.workloads.greeter.renewals + model.workloads.caller.renewals;
export const failedHandshakes = (model: DemoModel): number =>
  model.workloads.greeter.failedHandshakes + model.workloads.caller.failedHandshakes;

/** Applies one event to the model. Returns its line, if it has one. */
export function apply(model: DemoModel, event: DemoEvent, nowMs: number): LogLine | undefined {
  const line = change(model, event, nowMs);
  if (line === undefined) return undefined;
  const entry: LogLine = { at: Math.floor(nowMs / 1000), ...line };
  model.log.push(entry);
  if (model.log.length > logLimit) model.log.shift();
  return entry;
}

type Line = Omit<LogLine, 'at'>;

function change(model: DemoModel, event: DemoEvent, nowMs: number): Line | undefined {
  switch (event.kind) {
    case 'step':
      model.step = event.text;
      return { text: event.text, tone: 'plain' };
    case 'server':
    case 'agent':
      model[event.kind] = { state: event.state, detail: event.detail ?? '' };
      if (event.state === 'ready')
        return {
          text: `${event.kind} ready${event.detail === undefined ? '' : `: ${event.detail}`}`,
          tone: 'good',
        };
      if (event.state === 'degraded')
        return { text: `${event.kind} not ready: ${event.detail ?? ''}`, tone: 'bad' };
      return event.state === 'failed'
        ? { text: `${event.kind} failed: ${event.detail ?? ''}`, tone: 'bad' }
        : undefined;
    case 'facts':
      if (event.trustDomain !== undefined) model.trustDomain = event.trustDomain;
      if (event.hsm !== undefined) model.hsm = event.hsm;
      if (event.root !== undefined) model.root = event.root;
      if (event.issuing !== undefined) model.issuing = event.issuing;
      if (event.issued !== undefined) model.issued = event.issued;
      return undefined;
    case 'problem':
      return { text: event.text, tone: 'bad' };
    case 'workload':
      return changeWorkload(model, event.name, event.report, nowMs);
  }
}

function changeWorkload(
  model: DemoModel,
  name: WorkloadName,
  report: WorkloadReport,
  nowMs: number,
): Line | undefined {
  const view = model.workloads[name];
  switch (report.type) {
    case 'identity': {
      const { type: _type, renewal, ...held } = report;
      const moved = view.held !== undefined && view.held.issuer !== report.issuer;
      view.held = { ...held, receivedAt: Math.floor(nowMs / 1000) };
      if (renewal) view.renewals += 1;
      const until = new Date(report.notAfter * 1000).toISOString().slice(11, 19);
      const text = renewal
        ? `${name} renewed (${view.renewals}): serial ${shortSerial(report.serial)}, until ${until} UTC`
        : `${name} is ${report.id}: serial ${shortSerial(report.serial)}, until ${until} UTC`;
      return {
        text: moved
          ? `${text}, signed by a new authority ${shortKey(report.issuer)}; ` +
            `${failedHandshakes(model)} failed handshakes so far`
          : text,
        tone: 'good',
      };
    }
    case 'listening':
      return { text: `${name} listens on port ${report.port} for mTLS`, tone: 'plain' };
    case 'problem':
      return { text: `${name}: ${report.code}: ${report.message}`, tone: 'bad' };
    case 'traffic':
      return changeTraffic(model, name, report, nowMs);
  }
}

function changeTraffic(
  model: DemoModel,
  name: WorkloadName,
  report: Extract<WorkloadReport, { type: 'traffic' }>,
  nowMs: number,
): Line | undefined {
  const view = model.workloads[name];
  const newFailures =
    report.failedHandshakes + report.failedRequests - view.failedHandshakes - view.failedRequests;
  if (name === 'caller')
    model.perSecond[model.perSecond.length - 1] =
      (model.perSecond.at(-1) ?? 0) + report.requests - view.requests;
  const { type: _type, ...numbers } = report;
  Object.assign(view, numbers);
  if (newFailures > 0)
    return {
      text: `${name}: ${newFailures} failed (${report.lastFailure ?? 'unknown reason'})`,
      tone: 'bad',
    };
  if (name !== 'caller' || report.requests === 0 || model.firstRequestMs !== undefined)
    return undefined;
  model.firstRequestMs = nowMs - model.startedAtMs;
  return {
    text: `first request in mTLS after ${(model.firstRequestMs / 1000).toFixed(1)} s`,
    tone: 'good',
  };
}

/** Call it once a second. */
export function nextSecond(model: DemoModel): void {
  if (model.firstRequestMs === undefined) return;
  model.perSecond.push(0);
  if (model.perSecond.length > perSecondLimit) model.perSecond.shift();
}

/** Mean of the last complete seconds. */
export function requestsPerSecond(model: DemoModel, seconds = 5): number {
  const complete = model.perSecond.slice(0, -1).slice(-seconds);
  return complete.length === 0
    ? 0
    : Math.round(complete.reduce((sum, value) => sum + value, 0) / complete.length);
}

export const shortKey = (hex: string): string => hex.slice(0, 8);

export const shortSerial = (serial: string): string =>
  serial.length > 12 ? `${serial.slice(0, 6)}…${serial.slice(-6)}` : serial;
