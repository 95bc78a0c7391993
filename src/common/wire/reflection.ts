import type { PackageDefinition } from '@grpc/proto-loader';
import descriptor, {
  type IDescriptorProto,
  type IFileDescriptorProto,
} from 'protobufjs/ext/descriptor/index.js';

// Imported on its own path: only who serves reflection needs it.

/**
 * Contracts as gRPC reflection may show them. protobufjs writes descriptors that readers such as
 * grpcurl refuse, so three things are mended (google/protobuf/descriptor.proto): the message of a
 * map's entries is named `ReasonsEntry`, not `Reasons`; a range of reserved
 * numbers ends before its end; and a file names the files that it uses.
 */
export function reflected(...definitions: readonly PackageDefinition[]): PackageDefinition {
  const files = new Map<string, IFileDescriptorProto>();
  for (const definition of definitions)
    for (const bytes of filesOf(definition)) {
      const file = descriptor.FileDescriptorProto.decode(bytes) as unknown as IFileDescriptorProto;
      if (!files.has(file.name ?? '')) files.set(file.name ?? '', file);
    }
  for (const file of files.values())
    for (const message of file.messageType ?? []) {
      renameEntries(message);
      endRanges(message);
    }
  nameDependencies([...files.values()]);
  const mended = [...files.values()].map((file) =>
    Buffer.from(descriptor.FileDescriptorProto.encode(file).finish()),
  );
  // The library reads the files of every part: with all files in each, it would read them hundreds
  // of times, which blocks the start for a fifth of a second.
  const parts = definitions.flatMap((definition) => Object.entries(definition));
  const bearer = parts.findIndex(([, part]) => 'fileDescriptorProtos' in part);
  return Object.fromEntries(
    parts.map(([name, part], position) => [
      name,
      'fileDescriptorProtos' in part
        ? { ...part, fileDescriptorProtos: position === bearer ? mended : [] }
        : part,
    ]),
  ) as PackageDefinition;
}

const filesOf = (definition: PackageDefinition): ReadonlySet<Buffer> =>
  new Set(
    Object.values(definition).flatMap((part) => {
      const { fileDescriptorProtos: files } = part as { fileDescriptorProtos?: unknown };
      return Array.isArray(files) ? (files as Buffer[]) : [];
    }),
  );

function renameEntries(message: IDescriptorProto): void {
  for (const nested of message.nestedType ?? []) {
    renameEntries(nested);
    const field =
      nested.options?.mapEntry === true
        ? message.field?.find(({ typeName }) => typeName === nested.name)
        : undefined;
    if (field === undefined) continue;
    nested.name = `${nested.name}Entry`;
    field.typeName = nested.name;
  }
}

/** protobufjs writes the last reserved number of a message as the end, which is exclusive. */
function endRanges({ reservedRange, nestedType }: IDescriptorProto): void {
  for (const range of reservedRange ?? []) range.end = (range.end ?? 0) + 1;
  for (const nested of nestedType ?? []) endRanges(nested);
}

function nameDependencies(files: readonly IFileDescriptorProto[]): void {
  const owners = new Map<string, IFileDescriptorProto>();
  for (const file of files) for (const name of typesOf(file)) owners.set(name, file);
  for (const file of files) {
    const uses = new Set<string>();
    for (const { scope, name } of referencesOf(file)) {
      const owner = ownerOf(scope, name, owners);
      if (owner !== undefined && owner !== file) uses.add(owner.name ?? '');
    }
    file.dependency = [...uses].sort();
  }
}

const under = (scope: string, name: string | undefined): string =>
  scope === '' ? (name ?? '') : `${scope}.${name}`;

/** The full names of all messages and enums of a file. */
function typesOf(file: IFileDescriptorProto): readonly string[] {
  const within = (scope: string, message: IDescriptorProto): string[] => {
    const own = under(scope, message.name ?? '');
    return [
      own,
      ...(message.enumType ?? []).map(({ name }) => under(own, name ?? '')),
      ...(message.nestedType ?? []).flatMap((nested) => within(own, nested)),
    ];
  };
  const scope = file.package ?? '';
  return [
    ...(file.enumType ?? []).map(({ name }) => under(scope, name ?? '')),
    ...(file.messageType ?? []).flatMap((message) => within(scope, message)),
  ];
}

interface Reference {
  readonly scope: string;
  readonly name: string;
}

function referencesOf(file: IFileDescriptorProto): readonly Reference[] {
  const within = (scope: string, message: IDescriptorProto): Reference[] => {
    const own = under(scope, message.name ?? '');
    return [
      ...(message.field ?? []).map(({ typeName }) => ({ scope: own, name: typeName ?? '' })),
      ...(message.nestedType ?? []).flatMap((nested) => within(own, nested)),
    ];
  };
  const scope = file.package ?? '';
  return [
    ...(file.messageType ?? []).flatMap((message) => within(scope, message)),
    ...(file.service ?? []).flatMap(({ method }) =>
      (method ?? []).flatMap(({ inputType, outputType }) => [
        { scope, name: inputType ?? '' },
        { scope, name: outputType ?? '' },
      ]),
    ),
  ].filter(({ name }) => name !== '');
}

/** Names are looked up from the innermost scope outwards, as protoc does. */
function ownerOf<Owner>(
  scope: string,
  name: string,
  owners: ReadonlyMap<string, Owner>,
): Owner | undefined {
  if (name.startsWith('.')) return owners.get(name.slice(1));
  for (let at = scope; at !== ''; at = at.includes('.') ? at.slice(0, at.lastIndexOf('.')) : '') {
    const owner = owners.get(under(at, name));
    if (owner !== undefined) return owner;
  }
  return owners.get(name);
}
