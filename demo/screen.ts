import type { WriteStream } from 'node:tty';

/** Redraws a picture in place. Owner of the terminal between `open` and `close`. */
export class Screen {
  readonly #out: WriteStream;
  readonly #draw: (size: { readonly columns: number; readonly rows: number }) => string[];
  #shown: readonly string[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #onResize = (): void => {
    this.#shown = [];
    this.#out.write('\u001b[2J');
    this.#refresh();
  };

  constructor(
    out: WriteStream,
    draw: (size: { readonly columns: number; readonly rows: number }) => string[],
  ) {
    this.#out = out;
    this.#draw = draw;
  }

  open(): void {
    // an alternate buffer, so that the former content of the terminal comes back at the end
    this.#out.write('\u001b[?1049h\u001b[?25l\u001b[2J');
    this.#out.on('resize', this.#onResize);
    this.#timer = setInterval(() => this.#refresh(), 200);
    this.#refresh();
  }

  close(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#out.off('resize', this.#onResize);
    this.#out.write('\u001b[?25h\u001b[?1049l');
  }

  #refresh(): void {
    const lines = this.#draw({ columns: this.#out.columns, rows: this.#out.rows });
    let text = '';
    for (let row = 0; row < Math.max(lines.length, this.#shown.length); row += 1) {
      const line = lines[row] ?? '';
      // only changed rows, so that nothing flickers and a slow line is not flooded
      if (line !== this.#shown[row]) text += `\u001b[${row + 1};1H${line}\u001b[0m\u001b[K`;
    }
    this.#shown = lines;
    // one write, which terminals that know the mode show at once
    if (text !== '') this.#out.write(`\u001b[?2026h${text}\u001b[?2026l`);
  }
}
