import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PkiError } from '../../../../../src/common/errors/index.ts';
import {
  invalid,
  type Evidence,
  type Judged,
  type ValidationAsk,
} from '../../../../../src/common/validation/index.ts';
import type { Perspective } from '../../../../../src/domain/index.ts';
import {
  Corroborator,
  perspectiveText,
} from '../../../../../src/services/acme/vantage/corroborator.ts';
import type { Round } from '../../../../../src/services/acme/vantage/vantage-points.ts';

const { signal } = new AbortController();
const met: Judged<Evidence> = { ok: true, value: { seenAt: ['10.0.0.1 port 80'] } };
const sees = (name: string, over: Partial<Perspective> = {}): Perspective => ({
  ...{ name, result: 'agreed', code: '', seenAt: ['10.0.0.1 port 80'], ...over },
});
const west = sees('west', {
  ...{ result: 'disagreed', code: 'unauthorized', seenAt: ['10.0.0.9 port 80'] },
});
const north = sees('north', { result: 'disagreed', code: 'dns', seenAt: [] });
const east = sees('east', { result: 'absent', code: 'silent', seenAt: [] });
const ask: ValidationAsk = {
  ...{ type: 'http-01', identifier: { type: 'dns', value: 'www.test' }, wildcard: false },
  ...{ token: 'token', keyAuthorization: 'token.thumb', accountUri: 'https://ca.test/1' },
};

function world(own: Judged<Evidence>, round?: Round) {
  const asked: object[] = [];
  const look = () => Promise.resolve(own);
  const corroborator = new Corroborator({
    own: { validate: look, caa: look },
    points: {
      isOn: round !== undefined,
      ask: (what) => {
        asked.push(what);
        return Promise.resolve(round as Round);
      },
      shortfall: () => undefined,
      tooFew: (why) => new PkiError('ACME_VANTAGE_SHORT', `2 agents are needed, and ${why}`),
    },
    caaIdentities: ['ca.test'],
  });
  return { corroborator, asked };
}

describe('a validation seen from several places', () => {
  it('is what the server sees, where it alone decides', async () => {
    const { corroborator, asked } = world(met);
    const opinion = { judged: met, perspectives: [], isShort: false };
    assert.deepEqual(await corroborator.validate(ask, signal), opinion);
    assert.deepEqual(asked, []);
  });

  it('is asked nowhere else where the server does not see it', async () => {
    const own = invalid('connection', 'nobody there');
    const { corroborator, asked } = world(own, { corroboration: 'corroborated', perspectives: [] });
    const opinion = { judged: own, perspectives: [], isShort: false };
    assert.deepEqual(await corroborator.validate(ask, signal), opinion);
    assert.deepEqual(asked, []);
  });

  it('is valid with what each place has seen', async () => {
    const perspectives = [sees('west'), sees('north')];
    const { corroborator, asked } = world(met, { corroboration: 'corroborated', perspectives });
    const opinion = { judged: met, perspectives, isShort: false };
    assert.deepEqual(await corroborator.validate(ask, signal), opinion);
    const { type: challenge, ...rest } = ask;
    assert.deepEqual(asked, [{ challenge, ...rest, caaMethod: '', caaIdentities: ['ca.test'] }]);
  });

  it('fails with the place that sees something else, its code and what it dialled', async () => {
    const perspectives = [east, west, north];
    const { corroborator } = world(met, { corroboration: 'contradicted', perspectives });
    const { judged, isShort } = await corroborator.validate(ask, signal);
    assert.ok(!judged.ok && !isShort);
    assert.equal(judged.failure.type, 'unauthorized');
    assert.match(
      judged.failure.detail,
      /2 of 3 vantage agents do not: west sees unauthorized at 10\.0\.0\.9 port 80; north sees dns\. /,
    );
    assert.match(judged.failure.detail, / \[ACME_VANTAGE_DISAGREES\]$/);
  });

  it('has no verdict where too few have looked, and says who is missing', async () => {
    const perspectives = [sees('west'), east];
    const { corroborator } = world(met, { corroboration: 'short', perspectives });
    const { judged, isShort } = await corroborator.validate(ask, signal);
    assert.ok(!judged.ok && isShort);
    assert.equal(judged.failure.type, 'serverInternal');
    assert.match(judged.failure.detail, /east is absent \(silent\)\. .* \[ACME_VANTAGE_SHORT\]$/);
  });

  it('is the same for CAA records alone, with the method that they may name', async () => {
    const { corroborator, asked } = world(met, { corroboration: 'contradicted', perspectives: [] });
    const caa = { name: 'www.test', wildcard: true, accountUri: ask.accountUri, method: 'dns-01' };
    assert.equal((await corroborator.caa(caa, signal)).judged.ok, false);
    assert.deepEqual(asked, [
      {
        ...{ challenge: 'caa', identifier: ask.identifier, wildcard: true, token: '' },
        ...{ keyAuthorization: '', accountUri: ask.accountUri, caaMethod: 'dns-01' },
        caaIdentities: ['ca.test'],
      },
    ]);
  });
});

it('a place is one line of a record', () => {
  assert.equal(perspectiveText(west), 'west disagreed unauthorized 10.0.0.9 port 80');
  assert.equal(perspectiveText(east), 'east absent silent');
});
