import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PackageDefinition } from '@grpc/proto-loader';
import {
  adminContract,
  agentContract,
  issuerContract,
  reportsContract,
  signingContract,
  workloadContract,
} from '../../../../src/common/wire/index.ts';
import { reflected } from '../../../../src/common/wire/reflection.ts';
import { healthDefinition } from '../../../../src/common/wire/standard-services.ts';
import { descriptorProblems } from '../../../support/descriptors.ts';

const filesOf = (definition: PackageDefinition): readonly Uint8Array[] => [
  ...new Set(
    Object.values(definition).flatMap(
      (part) =>
        (part as { fileDescriptorProtos?: readonly Uint8Array[] }).fileDescriptorProtos ?? [],
    ),
  ),
];

test('reflected contracts name the entries of maps, and the files that they use, as protoc does', () => {
  const contracts = [
    adminContract(),
    agentContract(),
    issuerContract(),
    reportsContract(),
    signingContract(),
    workloadContract(),
  ].map(({ definition }) => definition);
  for (const contract of contracts)
    assert.deepEqual(descriptorProblems(filesOf(reflected(contract))), []);
  assert.deepEqual(descriptorProblems(filesOf(reflected(...contracts, healthDefinition))), []);
  // what the libraries give is refused
  assert.ok(
    descriptorProblems(filesOf(adminContract().definition)).includes(
      'meshca.admin.v1.JoinToken reserves 8 to 7',
    ),
  );
  const problems = descriptorProblems(filesOf(workloadContract().definition));
  assert.ok(
    problems.some((line) => line.includes('is no name of')),
    problems.join(),
  );
  assert.ok(
    problems.some((line) => line.includes('in no file')),
    problems.join(),
  );
});

test('reflected contracts state each file once, since the library reads the files of every part', () => {
  const shown = reflected(adminContract().definition, healthDefinition);
  const stated = Object.values(shown).flatMap(
    (part) => (part as { fileDescriptorProtos?: readonly Uint8Array[] }).fileDescriptorProtos ?? [],
  );
  assert.equal(stated.length, new Set(stated).size);
});
