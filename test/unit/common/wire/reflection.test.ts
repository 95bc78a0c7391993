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
import { healthContract } from '../../../../src/common/wire/load.ts';
import { descriptorProblems } from '../../../support/descriptors.ts';

const filesOf = (definition: PackageDefinition): readonly Uint8Array[] => [
  ...new Set(
    Object.values(definition).flatMap(
      (part) =>
        (part as { fileDescriptorProtos?: readonly Uint8Array[] }).fileDescriptorProtos ?? [],
    ),
  ),
];

test('reflected contracts name the entries of maps, and the files that they use, as protoc does', async () => {
  const contracts = await Promise.all(
    [
      adminContract(),
      agentContract(),
      issuerContract(),
      reportsContract(),
      signingContract(),
      workloadContract(),
    ].map((contract) => contract.describe()),
  );
  const health = await healthContract().describe();
  for (const contract of contracts)
    assert.deepEqual(descriptorProblems(filesOf(reflected(contract))), []);
  assert.deepEqual(descriptorProblems(filesOf(reflected(...contracts, health))), []);
  // what the libraries give is refused
  assert.ok(
    descriptorProblems(filesOf(await adminContract().describe())).includes(
      'meshca.admin.v1.JoinToken reserves 8 to 7',
    ),
  );
  const problems = descriptorProblems(filesOf(await workloadContract().describe()));
  assert.ok(
    problems.some((line) => line.includes('is no name of')),
    problems.join(),
  );
  assert.ok(
    problems.some((line) => line.includes('in no file')),
    problems.join(),
  );
});

test('reflected contracts state each file once, since the library reads the files of every part', async () => {
  const shown = reflected(await adminContract().describe(), await healthContract().describe());
  const stated = Object.values(shown).flatMap(
    (part) => (part as { fileDescriptorProtos?: readonly Uint8Array[] }).fileDescriptorProtos ?? [],
  );
  assert.equal(stated.length, new Set(stated).size);
});
