import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Machine } from './network.ts';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

/** What stands on the page in place of what a test has. */
export type Places = Readonly<Record<string, string>>;

interface Block {
  readonly language: string;
  /** The path before the block, where it is a file. */
  readonly file: string | undefined;
  readonly text: string;
}

/**
 * A section of docs/acme-clients.md as it stands there: files, each below its path, and commands
 * (`sh`). Only places are replaced.
 */
export class PageSection {
  readonly #title: string;
  readonly #blocks: readonly Block[];

  constructor(title: string, places: Places) {
    this.#title = title;
    const page = readFileSync(join(root, 'docs', 'acme-clients.md'), 'utf8');
    const section = page.split(/^## /m).find((text) => text.startsWith(`${title}\n`));
    if (section === undefined) throw new Error(`docs/acme-clients.md has no ${title}`);
    const blocks = /(?<=^([^\n]*)\n\n)```(\w*)\n(.*?)^```$/gms;
    const text = Object.entries(places).reduce(
      (all, [from, to]) =>
        all.replace(
          new RegExp(`(?<![\\w.-])${from.replaceAll(/[.*]/g, '\\$&')}(?![\\w-])`, 'g'),
          to,
        ),
      section,
    );
    this.#blocks = [...text.matchAll(blocks)].map(([, before = '', language = '', body = '']) => ({
      language,
      file: /`(\/[^`]+)`[^`]*$/.exec(before)?.[1],
      text: body,
    }));
  }

  /** Every file of the section, put where the page says. */
  async writeFiles(machine: Machine): Promise<void> {
    for (const { file, text, language } of this.#blocks)
      if (file !== undefined && language !== 'sh') {
        await machine.write(file, text);
        if (text.startsWith('#!')) await machine.must(`chmod +x ${file}`);
      }
  }

  /** The block of this number with a language that is no file. */
  block(language: string, index = 0): string {
    const blocks = this.#blocks.filter((block) => block.language === language);
    const block = blocks[index];
    if (block === undefined)
      throw new Error(`docs/acme-clients.md, ${this.#title}: no block ${index} of ${language}`);
    return block.text;
  }

  /** Commands of which the last one runs on, with what was exported before. */
  daemon(index: number): string {
    return this.commands(index)
      .trimEnd()
      .replace(/(?<=^|\n)(?=[^\n]*$)/, 'exec ');
  }

  /** Commands, with what was exported before. */
  commands(index: number): string {
    const before = Array.from({ length: index }, (_, at) => this.block('sh', at));
    const exports = before.flatMap((text) => text.match(/^export .*$/gm) ?? []);
    return [...exports, this.block('sh', index)].join('\n');
  }
}
