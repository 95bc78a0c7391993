import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { expectPossible } from '../../../../src/common/spiffe/index.ts';

describe('a selector', () => {
  test('with a value that some process may have is accepted', () => {
    for (const selector of [
      'unix:uid:0',
      'unix:uid:4294967294',
      'unix:user:svc+web',
      'unix:user:müller',
      'unix:user:DOM\\alice',
      'unix:path:/usr/lib/a..b/.hidden',
      `unix:sha256:${'0a'.repeat(32)}`,
      'unix:cgroup:/system.slice',
      'systemd:id:web@1.service',
      'peer:pinned',
      'k8s:pod:web',
    ])
      expectPossible(selector);
  });

  test('with a value that no process can have is refused, and the form is named', () => {
    for (const [selector, form] of [
      ['unix:uid:www-data', /number/],
      ['unix:gid:007', /number/],
      ['unix:uid:4294967295', /number/],
      ['unix:sha256:abc', /64 hexadecimal digits/],
      [`unix:sha256:${'0A'.repeat(32)}`, /lower case/],
      ['unix:path:usr/bin/web', /absolute path/],
      ['unix:path:/usr//bin/web', /absolute path/],
      ['unix:path:/usr/../bin/web', /absolute path/],
      ['unix:path:/usr/bin/', /absolute path/],
      ['systemd:id:web', /suffix/],
    ] as const)
      assert.throws(
        () => expectPossible(selector),
        (thrown) => {
          const { code, message } = PkiError.from(thrown);
          return code === 'SELECTOR_INVALID' && form.test(message);
        },
        selector,
      );
  });
});
