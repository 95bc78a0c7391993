import {
  failedHandshakes,
  renewals,
  requestsPerSecond,
  shortKey,
  shortSerial,
  type DemoModel,
  type PartState,
  type WorkloadName,
  type WorkloadView,
} from './model.ts';
import {
  apart,
  bar,
  cut,
  fit,
  painter,
  sparkline,
  widthOf,
  type Paint,
  type Tone,
} from './text.ts';

export interface PictureSize {
  readonly columns: number;
  readonly rows: number;
}

const dots: Record<PartState, readonly [string, Tone]> = {
  waiting: ['○', 'dim'],
  starting: ['◌', 'yellow'],
  ready: ['●', 'green'],
  degraded: ['◐', 'yellow'],
  stopped: ['○', 'dim'],
  failed: ['✗', 'red'],
};

/** The whole picture as lines, none wider than the screen and no more than it has rows. Pure. */
export function draw(
  model: DemoModel,
  size: PictureSize,
  options: { readonly color: boolean; readonly nowMs: number; readonly tryNext: readonly string[] },
): string[] {
  const paint = painter(options.color);
  const width = Math.max(20, Math.min(size.columns - 1, 118));
  const inside = width - 4;
  const frame = new Frame(width, paint);
  frame.top(
    paint('meshca', 'bold', 'cyan'),
    model.trustDomain === '' ? '' : paint(`spiffe://${model.trustDomain}`, 'bold'),
  );
  for (const line of partLines(model, inside, paint, options.nowMs)) frame.line(line);
  frame.rule('workloads');
  for (const line of workloadLines(model, inside, paint, options.nowMs)) frame.line(line);
  frame.rule('mTLS between them');
  for (const line of trafficLines(model, inside, paint, options.nowMs)) frame.line(line);
  // the remaining rows go to the log, and to the commands if both have room: on 24 rows as soon as
  // the commands are of use
  const left = size.rows - frame.lines.length - 2;
  const commands = options.tryNext.length + 1;
  const withCommands = left - commands >= (model.firstRequestMs === undefined ? 5 : 3);
  const logRows = Math.max(0, Math.min(left - (withCommands ? commands : 0) - 1, 14));
  if (logRows > 0) {
    frame.rule('events');
    for (const line of logLines(model, logRows, paint)) frame.line(line);
  }
  if (withCommands) {
    frame.rule('try next');
    for (const command of options.tryNext) frame.line(paint(command, 'cyan'));
  }
  frame.bottom(paint('Ctrl-C ends everything', 'dim'));
  return frame.lines.slice(0, Math.max(1, size.rows - 1));
}

class Frame {
  readonly lines: string[] = [];
  readonly #width: number;
  readonly #paint: Paint;

  constructor(width: number, paint: Paint) {
    this.#width = width;
    this.#paint = paint;
  }

  top(left: string, right: string): void {
    this.#edge('╭', '╮', left, right);
  }

  rule(title: string): void {
    this.#edge('├', '┤', this.#paint(title, 'dim'), '');
  }

  bottom(right: string): void {
    this.#edge('╰', '╯', '', right);
  }

  line(text: string): void {
    const side = this.#paint('│', 'dim');
    this.lines.push(`${side} ${fit(text, this.#width - 4)} ${side}`);
  }

  #edge(start: string, end: string, left: string, right: string): void {
    const label = (text: string): string => (text === '' ? '' : ` ${text} `);
    const room = this.#width - 4;
    const first = cut(label(left), room);
    const second = widthOf(first) + widthOf(label(right)) <= room ? label(right) : '';
    const dashes = '─'.repeat(Math.max(0, room - widthOf(first) - widthOf(second)));
    this.lines.push(
      this.#paint(`${start}─`, 'dim') +
        first +
        this.#paint(dashes, 'dim') +
        second +
        this.#paint(`─${end}`, 'dim'),
    );
  }
}

function partLines(model: DemoModel, width: number, paint: Paint, nowMs: number): string[] {
  const part = (
    name: string,
    { state, detail }: { readonly state: PartState; readonly detail: string },
  ): string => {
    const [dot, tone] = dots[state];
    return `${paint(dot, tone)} ${paint(name.padEnd(6), 'bold')} ${detail === '' ? state : detail}`;
  };
  const authority = (label: string, facts: DemoModel['root']): string =>
    facts === undefined ? '' : `${paint(label, 'dim')} ${facts.text}`;
  const lines = [part('CA', model.server)];
  const chain = [authority('root', model.root), authority('issuing', model.issuing)]
    .filter((text) => text !== '')
    .join(paint('  →  ', 'dim'));
  if (chain !== '') lines.push(`  ${' '.repeat(6)} ${chain}`);
  const issued = paint(
    model.issued === undefined
      ? ''
      : `${model.issued} ${model.issued === 1 ? 'certificate' : 'certificates'} issued`,
    'dim',
  );
  if (model.hsm !== '')
    lines.push(apart(`  ${paint('HSM   ', 'bold')} ${model.hsm}`, issued, width));
  lines.push(part('agent', model.agent));
  if (model.firstRequestMs === undefined && model.step !== '') {
    const spin = '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'[Math.floor(nowMs / 100) % 10] as string;
    lines.push(
      `${paint(spin, 'cyan')} ${model.step} ${paint(`${Math.floor((nowMs - model.startedAtMs) / 1000)} s`, 'dim')}`,
    );
  }
  return lines;
}

function workloadLines(model: DemoModel, width: number, paint: Paint, nowMs: number): string[] {
  const cards = (['greeter', 'caller'] as const).map(
    (name) => (cardWidth: number) =>
      card(name, model.workloads[name], { width: cardWidth, paint, nowMs }),
  );
  if (width < 70) return cards.flatMap((make) => make(width));
  const half = Math.floor((width - 3) / 2);
  const [left, right] = cards.map((make) => make(half)) as [string[], string[]];
  return left.map((line, index) => `${fit(line, half)} ${paint('│', 'dim')} ${right[index] ?? ''}`);
}

function card(
  name: WorkloadName,
  view: WorkloadView,
  {
    width,
    paint,
    nowMs,
  }: { readonly width: number; readonly paint: Paint; readonly nowMs: number },
): string[] {
  const { held } = view;
  const role = name === 'greeter' ? 'serves HTTPS' : 'calls it';
  const title = apart(
    `${paint(held === undefined ? '○' : '●', held === undefined ? 'dim' : 'green')} ` +
      `${paint(name, 'bold')} ${paint(role, 'dim')}`,
    `${paint(String(view.renewals), 'bold')} renewals`,
    width,
  );
  if (held === undefined) return [title, paint('  waits for its identity', 'dim'), '', ''];
  const leftSeconds = held.notAfter - nowMs / 1000;
  const life = Math.max(1, held.notAfter - held.receivedAt);
  const share = Math.max(0, leftSeconds / life);
  const tone: Tone = share > 0.4 ? 'green' : share > 0.2 ? 'yellow' : 'red';
  const clock = `${Math.max(0, Math.ceil(leftSeconds))} s left`.padStart(10);
  const { full, empty } = bar(share, Math.max(4, width - 3 - clock.length));
  return [
    title,
    `  ${held.id}`,
    `  ${paint('serial', 'dim')} ${shortSerial(held.serial)} ${paint('by', 'dim')} ${shortKey(held.issuer)}`,
    `  ${paint(full, tone)}${paint(empty, 'dim')} ${clock}`,
  ];
}

function trafficLines(model: DemoModel, width: number, paint: Paint, nowMs: number): string[] {
  const { caller } = model.workloads;
  const failed = failedHandshakes(model);
  const rate = `${String(requestsPerSecond(model)).padStart(4)} requests/s `;
  const chart = sparkline(
    model.perSecond.slice(0, -1),
    Math.max(4, Math.min(60, width - widthOf(rate))),
  );
  const number = (value: number, text: string, tone?: Tone): string =>
    `${paint(value.toLocaleString('en'), ...(tone === undefined ? ['bold' as const] : ['bold' as const, tone]))} ` +
    `${text}`;
  const figures = [
    number(caller.requests, 'served'),
    number(caller.connections, 'handshakes'),
    number(failed, 'failed handshakes', failed === 0 ? 'green' : 'red'),
    number(renewals(model), 'renewals'),
  ];
  const running = paint(`up ${Math.floor((nowMs - model.startedAtMs) / 1000)} s`, 'dim');
  const lines = [rate + paint(chart, 'cyan')];
  const oneLine = figures.join('   ');
  if (widthOf(oneLine) <= width) lines.push(apart(oneLine, running, width));
  else lines.push(figures.slice(0, 2).join('   '), figures.slice(2).join('   '));
  if (caller.failedRequests > 0)
    lines.push(
      paint(`${caller.failedRequests} requests failed: ${caller.lastFailure ?? ''}`, 'red'),
    );
  return lines;
}

function logLines(model: DemoModel, rows: number, paint: Paint): string[] {
  const shown = model.log.slice(-rows).map(({ at, text, tone }) => {
    const time = paint(new Date(at * 1000).toISOString().slice(11, 19), 'dim');
    return `${time} ${tone === 'bad' ? paint(text, 'red') : text}`;
  });
  return [...shown, ...Array.from({ length: rows - shown.length }, () => '')];
}
