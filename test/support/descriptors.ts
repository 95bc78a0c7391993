import descriptor, {
  type IDescriptorProto,
  type IFileDescriptorProto,
} from 'protobufjs/ext/descriptor/index.js';

/** What strict readers of descriptors (protobuf-go) refuse in a set of files. */
export function descriptorProblems(files: readonly Uint8Array[]): readonly string[] {
  const decoded = files.map(
    (bytes) => descriptor.FileDescriptorProto.decode(bytes) as unknown as IFileDescriptorProto,
  );
  const problems: string[] = [];
  const declared = new Map(decoded.map((file) => [file.name ?? '', new Set(namesOf(file))]));
  for (const file of decoded) {
    const visible = [file.name ?? '', ...(file.dependency ?? [])];
    const resolves = (scope: string, name: string): boolean => {
      const scopes = scope.split('.').map((_, at, parts) => parts.slice(0, at + 1).join('.'));
      const candidates = ['', ...scopes].map((at) => (at === '' ? name : `${at}.${name}`));
      return visible.some((path) => candidates.some((each) => declared.get(path)?.has(each)));
    };
    const look = (scope: string, message: IDescriptorProto): void => {
      const own = scope === '' ? (message.name ?? '') : `${scope}.${message.name}`;
      for (const { name, typeName } of message.field ?? [])
        if (typeName && !resolves(own, typeName))
          problems.push(`${own}.${name} uses ${typeName}, which is in no file that it names`);
      for (const { start = 0, end = 0 } of message.reservedRange ?? [])
        if (start >= end) problems.push(`${own} reserves ${start} to ${end - 1}`);
      for (const nested of message.nestedType ?? []) {
        if (nested.options?.mapEntry === true && !isEntryOf(message, nested))
          problems.push(`${own}.${nested.name} is no name of a map's entries`);
        look(own, nested);
      }
    };
    for (const message of file.messageType ?? []) look(file.package ?? '', message);
  }
  return problems;
}

/** protoc names the entries of `map<> by_name` ByNameEntry. */
const isEntryOf = ({ field }: IDescriptorProto, { name }: IDescriptorProto): boolean =>
  (field ?? []).some(
    (each) =>
      each.typeName === name &&
      name ===
        `${(each.name ?? '').replace(/(?:^|_)(.)/g, (_, c: string) => c.toUpperCase())}Entry`,
  );

function namesOf(file: IFileDescriptorProto): readonly string[] {
  const within = (scope: string, message: IDescriptorProto): string[] => {
    const own = scope === '' ? (message.name ?? '') : `${scope}.${message.name}`;
    return [
      own,
      ...(message.enumType ?? []).map(({ name }) => `${own}.${name}`),
      ...(message.nestedType ?? []).flatMap((nested) => within(own, nested)),
    ];
  };
  const scope = file.package ?? '';
  return [
    ...(file.enumType ?? []).map(({ name }) => (scope === '' ? (name ?? '') : `${scope}.${name}`)),
    ...(file.messageType ?? []).flatMap((message) => within(scope, message)),
  ];
}
