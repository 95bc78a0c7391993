import { existsSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf, { type INamespace } from 'protobufjs';

/** The contracts that are loaded: our own by their path below proto/, those of libraries after them. */
export const contractPaths = [
  'meshca/admin/v1/admin.proto',
  'meshca/agent/v1/agent.proto',
  'meshca/issuer/v1/issuer.proto',
  'meshca/signing/v1/signing.proto',
  'meshca/workload/v1/reports.proto',
  'spiffe/workload.proto',
  'envoy/service/secret/v3/sds.proto',
  'istio/v1/auth/ca.proto',
  'linkerd/identity.proto',
  'grpc/health/v1',
  'grpc/reflection/v1',
  'grpc/reflection/v1alpha',
] as const;

export type ContractPath = (typeof contractPaths)[number];

/** A folder of a package, by its path from the package's main module. */
const besideMain = (name: string, path: string): string =>
  join(dirname(fileURLToPath(import.meta.resolve(name))), path);

function fileOf(path: ContractPath): string {
  switch (path) {
    case 'grpc/health/v1':
      return besideMain('grpc-health-check', '../../proto/health/v1/health.proto');
    case 'grpc/reflection/v1':
    case 'grpc/reflection/v1alpha':
      return besideMain('@grpc/reflection', `../proto/${path}/reflection.proto`);
    default:
      return fileURLToPath(import.meta.resolve(`#proto/${path}`));
  }
}

/**
 * A contract with all that it imports, as JSON of protobufjs. The bundle has the JSON itself in
 * place of this module (scripts/bundle.mjs), so that the product parses no .proto at its start.
 */
export function contractJson(path: ContractPath): INamespace {
  const file = fileOf(path);
  const folders = [dirname(file), join(file, ...path.split('/').map(() => '..'))];
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) =>
    isAbsolute(target)
      ? target
      : (folders.map((folder) => join(folder, target)).find((each) => existsSync(each)) ?? target);
  return root.loadSync(file, { keepCase: false }).resolveAll().root.toJSON();
}
