import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import type { DriverSettings } from './server-process.ts';
import type { ServedDirectory } from './served-directory.ts';
import { setFiles } from './target-directory.ts';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

/** The directory of the target in docs/servers.md. */
const directory = '/etc/meshca/web';

/** What stands on the page in place of what a test has, such as ports and paths. */
type Places = Readonly<Record<string, string>>;

/**
 * The texts of a section of docs/servers.md as they stand there, so that the tests try what the page
 * says: configurations of the server, and drivers (YAML with `type`). Only paths and ports are put in
 * their place; each must stand there.
 */
export class Guide {
  readonly #blocks: readonly (readonly [language: string, text: string])[];
  readonly #server: string;

  constructor(server: string) {
    const page = readFileSync(join(root, 'docs', 'servers.md'), 'utf8');
    const section = page.split(/^## /m).find((text) => text.startsWith(`${server}\n`)) ?? '';
    this.#server = server;
    this.#blocks = [...section.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map((match) => [
      match[1] as string,
      match[2] as string,
    ]);
  }

  /** A configuration of the server, for a directory. */
  config(language: string, target: ServedDirectory, places: Places, index = 0): string {
    const [, text = ''] = this.#blocks.filter(([name]) => name === language)[index] ?? [];
    const files = Object.entries(setFiles).map(([kind, name]) => [
      `${directory}/current/${name}`,
      target.file(kind as keyof typeof setFiles),
    ]);
    const inPlace = files.reduce(
      (all, [from, to]) => all.replaceAll(from as string, to as string),
      text,
    );
    return this.#put(inPlace.replaceAll(directory, target.path), places);
  }

  /** A driver. */
  driver(places: Places, index = 0): DriverSettings {
    const texts = this.#blocks.filter(([name, text]) => name === 'yaml' && /^type: /.test(text));
    const [, text = ''] = texts[index] ?? [];
    const { type, ...settings } = parse(this.#put(text, places)) as { readonly type: string };
    return { type, settings };
  }

  #put(text: string, places: Places): string {
    return Object.entries(places).reduce((all, [from, to]) => {
      if (!all.includes(from))
        throw new Error(`docs/servers.md, ${this.#server}: there is no ${from} in\n${all}`);
      return all.replaceAll(from, to);
    }, text);
  }
}
