// Which foreign programs a file of test/interop starts: those that it, or a test file that it imports,
// asks for by name, foreignProgram('envoy').
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { ScriptError } from './lib.mjs';

/**
 * @param {readonly string[]} files compiled ones or sources
 * @returns {Set<string>} names of `ForeignPrograms` (test/interop/foreign-programs.ts)
 */
export function foreignNeeds(files) {
  const names = new Set();
  const seen = new Set();
  const read = (file) => {
    if (seen.has(file) || !existsSync(file)) return;
    seen.add(file);
    const text = readFileSync(file, 'utf8');
    for (const [, argument] of text.matchAll(/(?<!function )\bforeignProgram\(([^)]*)\)/g)) {
      const [, name] = /^'(\w+)'$/.exec(argument) ?? [];
      if (name === undefined)
        throw new ScriptError(
          `${file}: foreignProgram(${argument}) does not say by a literal which program it is`,
        );
      names.add(name);
    }
    for (const [, path] of text.matchAll(/\bfrom '(\.[^']+)'/g)) {
      const imported = join(dirname(file), path);
      if (imported.includes(`${sep}test${sep}`)) read(imported);
    }
  };
  for (const file of files) read(file);
  return names;
}
