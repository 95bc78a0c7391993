import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { openTokenAdmin } from '../../../src/hsm/index.ts';
import { isWholeObject } from '../../../src/hsm/softhsm-guard.ts';
import { adminOptions, hsmFixture, type HsmFixture } from '../../support/hsm.ts';

const objects = ({ tokens }: HsmFixture): readonly string[] =>
  readdirSync(tokens.tokenDir).map((name) => join(tokens.tokenDir, name, 'token.object'));

describe('SoftHSM, which truncates its token at each login', () => {
  it('gets a token back that a killed login left empty, with its keys', async () => {
    await using fixture = await hsmFixture();
    const key = await fixture.makeKey('ec-p256');
    for (const path of objects(fixture)) truncateSync(path, 0);
    await using admin = await openTokenAdmin(fixture.token, adminOptions);
    assert.deepEqual(
      (await admin.listKeys()).map(({ ckaId }) => ckaId),
      [key.ckaId],
    );
    assert.equal((await admin.sign(key, Buffer.from('x'))).length > 0, true);
    for (const path of objects(fixture)) assert.ok(isWholeObject(readFileSync(path)));
  });

  it('gets one back that is cut in the middle, from a copy that has the permissions of the original', async () => {
    await using fixture = await hsmFixture();
    const key = await fixture.makeKey('ec-p256');
    const signers = await fixture.signers({ processes: 1 });
    await signers.useKey(key);
    for (const path of objects(fixture)) {
      assert.ok(
        readFileSync(`${path}.meshca-copy`).subarray(8).equals(readFileSync(path).subarray(8)),
      );
      assert.equal(statSync(`${path}.meshca-copy`).mode, statSync(path).mode);
      truncateSync(path, 100);
    }
    await using admin = await openTokenAdmin(fixture.token, adminOptions);
    assert.equal((await admin.listKeys()).length, 1);
  });

  it('leaves a token that is broken beyond its copy to the error that the start gives', async () => {
    await using fixture = await hsmFixture();
    await fixture.makeKey('ec-p256');
    for (const path of objects(fixture)) {
      truncateSync(path, 0);
      writeFileSync(`${path}.meshca-copy`, 'nonsense');
    }
    await assert.rejects(openTokenAdmin(fixture.token, adminOptions), {
      code: 'HSM_TOKEN_NOT_FOUND',
    });
  });

  it('tells a whole object file from one that is cut anywhere', async () => {
    await using fixture = await hsmFixture();
    const whole = readFileSync(objects(fixture)[0] as string);
    assert.ok(isWholeObject(whole));
    // between two attributes a cut can not be seen; SoftHSM writes the file with one call, so that
    // there is none
    const seen = Array.from({ length: whole.length }, (_, length) =>
      isWholeObject(whole.subarray(0, length)),
    ).filter(Boolean).length;
    assert.ok(seen < 10, `${seen} cuts look whole`);
    assert.equal(isWholeObject(Buffer.alloc(0)), false);
    assert.equal(isWholeObject(Buffer.alloc(whole.length)), false);
  });
});
