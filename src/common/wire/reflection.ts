import type { PackageDefinition } from '@grpc/proto-loader';
import descriptor, {
  type IDescriptorProto,
  type IFileDescriptorProto,
} from 'protobufjs/ext/descriptor/index.js';

// Imported on its own path: only who serves reflection needs it.

/**
 * A contract as gRPC reflection may show it. protobufjs names the message of a map's entries like
 * the field (`Reasons`); protoc names it `ReasonsEntry`, and readers such as grpcurl refuse anything
 * else (google/protobuf/descriptor.proto, MessageOptions.map_entry).
 */
export function reflected(...definitions: readonly PackageDefinition[]): PackageDefinition {
  return Object.fromEntries(
    definitions.flatMap((definition) =>
      Object.entries(definition).map(([name, part]) => {
        const { fileDescriptorProtos: files } = part as { fileDescriptorProtos?: unknown };
        return [
          name,
          Array.isArray(files) ? { ...part, fileDescriptorProtos: files.map(mended) } : part,
        ];
      }),
    ),
  ) as PackageDefinition;
}

const known = new Map<Buffer, Buffer>();

function mended(bytes: Buffer): Buffer {
  const before = known.get(bytes);
  if (before !== undefined) return before;
  const file = descriptor.FileDescriptorProto.decode(bytes) as unknown as IFileDescriptorProto;
  for (const message of file.messageType ?? []) renameEntries(message);
  const after = Buffer.from(descriptor.FileDescriptorProto.encode(file).finish());
  known.set(bytes, after);
  return after;
}

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
