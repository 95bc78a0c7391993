// What clients of proto/meshca rely on, as JSON: messages with their fields, enums, and methods.
//
//   node scripts/proto-baseline.mjs           says what the protos changed against proto/baseline.json
//   node scripts/proto-baseline.mjs --write   takes additions into the baseline; refuses breaking changes
//
// A package whose version ends in alphaN or betaN may change in any way (docs/versioning.md).
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import protobuf from 'protobufjs';
import { filesBelow, inRoot, isMain, main, readJson, ScriptError } from './lib.mjs';

export const baselinePath = inRoot('proto', 'baseline.json');

/** The surface of a set of .proto texts: a flat object of names and what they are. */
export function surfaceOf(texts) {
  const root = new protobuf.Root();
  for (const text of texts) protobuf.parse(text, root, { keepCase: true });
  const surface = {};
  collect(root, surface);
  return Object.fromEntries(Object.entries(surface).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function collect(namespace, surface) {
  for (const each of namespace.nestedArray) {
    const name = each.fullName.slice(1);
    if (each instanceof protobuf.Type) addMessage(each, name, surface);
    else if (each instanceof protobuf.Enum)
      for (const [value, number] of Object.entries(each.values))
        surface[`${name}.${value}`] = `= ${number}`;
    else if (each instanceof protobuf.Service)
      for (const method of each.methodsArray)
        surface[`${name}.${method.name}`] = methodText(method);
    if (each instanceof protobuf.Namespace) collect(each, surface);
  }
}

function addMessage(type, name, surface) {
  surface[name] = 'message';
  for (const field of type.fieldsArray) {
    const kind = field.map ? `map<${field.keyType}, ${field.type}>` : field.type;
    const label = field.repeated ? 'repeated ' : field.options?.proto3_optional ? 'optional ' : '';
    const group =
      field.partOf === null || field.options?.proto3_optional ? '' : ` in ${field.partOf.name}`;
    surface[`${name}.${field.name}`] = `${label}${kind} = ${field.id}${group}`;
  }
}

const methodText = ({ requestType, responseType, requestStream, responseStream }) =>
  `${requestStream ? 'stream ' : ''}${requestType} → ${responseStream ? 'stream ' : ''}${responseType}`;

const isUnstable = (name) => /\.v\d+(alpha|beta)\d+(\.|$)/.test(name);

/** What a client of the baseline would miss or misread. */
export function breakingChanges(baseline, surface) {
  return Object.entries(baseline).flatMap(([name, was]) => {
    const is = surface[name];
    if (is === was || isUnstable(name)) return [];
    return [is === undefined ? `${name} is gone (${was})` : `${name} was "${was}" and is "${is}"`];
  });
}

export const present = () =>
  surfaceOf(
    filesBelow(inRoot('proto', 'meshca'), (path) => path.endsWith('.proto'))
      .sort()
      .map((path) => readFileSync(path, 'utf8')),
  );

if (isMain(import.meta.url))
  await main((args) => {
    const surface = present();
    const baseline = existsSync(baselinePath) ? readJson(baselinePath) : {};
    const broken = breakingChanges(baseline, surface);
    if (broken.length > 0)
      throw new ScriptError(`these changes break clients:\n${broken.join('\n')}`);
    const added = Object.keys(surface).filter((name) => baseline[name] === undefined);
    if (args.includes('--write'))
      writeFileSync(baselinePath, `${JSON.stringify(surface, null, 2)}\n`);
    process.stdout.write(`${relative(inRoot(), baselinePath)}: ${added.length} additions\n`);
  });
