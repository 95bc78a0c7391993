import { stderr, stdout } from 'node:process';
import { apply, newModel, nextSecond, type DemoEvent } from './model.ts';
import { draw } from './picture.ts';
import { farewell, plainLine, summary, trafficLine } from './plain.ts';
import { Screen } from './screen.ts';

export interface TellerOptions {
  /** Standard output gets one JSON summary at the end; lines for a person go to standard error. */
  readonly json: boolean;
  /** Standard output is a terminal that a picture can be drawn on. */
  readonly terminal: boolean;
  readonly color: boolean;
  /** What a person may try next. */
  readonly commands: readonly string[];
  /** Called once, at the first request between the workloads. */
  readonly onTraffic: () => void;
}

const trafficEverySeconds = 5;

/** Tells a person what happens, as a picture or as lines. Owner of the model. */
export class Teller {
  readonly #options: TellerOptions;
  readonly #model = newModel(Date.now());
  readonly #screen: Screen | undefined;
  #trafficSeen = false;
  #second = 0;

  constructor(options: TellerOptions) {
    this.#options = options;
    const { json, terminal, color, commands } = options;
    this.#screen =
      terminal && !json
        ? new Screen(stdout, (size) =>
            draw(this.#model, size, { color, nowMs: Date.now(), tryNext: commands }),
          )
        : undefined;
  }

  open(): void {
    this.#screen?.open();
  }

  close(): void {
    this.#screen?.close();
  }

  tell(event: DemoEvent): void {
    const line = apply(this.#model, event, Date.now());
    if (line !== undefined) this.#say(plainLine(line));
    if (this.#model.firstRequestMs === undefined || this.#trafficSeen) return;
    this.#trafficSeen = true;
    const { json, commands, onTraffic } = this.#options;
    if (!json) this.#say(`${['Try next:', ...commands].join('\n  ')}\n`);
    onTraffic();
  }

  /** Call it each second. */
  tick(): void {
    nextSecond(this.#model);
    this.#second += 1;
    if (this.#second % trafficEverySeconds === 0 && this.#model.firstRequestMs !== undefined)
      this.#say(trafficLine(this.#model, Date.now()));
  }

  /** Prints the end of a demonstration that ended in order. */
  farewell(): void {
    if (this.#screen !== undefined) stdout.write(farewell(this.#model));
    if (this.#options.json) stdout.write(summary(this.#model));
    else this.#say(trafficLine(this.#model, Date.now()));
  }

  #say(text: string): void {
    if (this.#screen !== undefined) return;
    (this.#options.json ? stderr : stdout).write(text);
  }
}
