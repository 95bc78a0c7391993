import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, type Logger } from '../../../../src/common/runtime/index.ts';
import { crlBounds } from '../../../../src/domain/index.ts';
import { CrlWarnings } from '../../../../src/issuance/crl/warnings.ts';

test('an operator is alerted once before the CRLs are too large for some, and for agents', () => {
  const alerts: string[] = [];
  const logger: Logger = {
    ...silentLogger,
    warn: (fields: object) => {
      const { alert, reach } = fields as { readonly alert?: boolean; readonly reach?: string };
      if (alert === true) alerts.push(reach ?? '');
    },
  };
  const warnings = new CrlWarnings({ logger });
  const tell = (bytes: number): void => warnings.tell([], 0, [{ der: Buffer.alloc(bytes) }]);
  tell(1);
  assert.deepEqual(alerts, []);
  tell(crlBounds.workloads + 1);
  tell(crlBounds.workloads + 2);
  assert.deepEqual(alerts, ['large-messages']);
  tell(crlBounds.agents + 1);
  assert.deepEqual(alerts, ['large-messages', 'http']);
  tell(1);
  tell(crlBounds.workloads + 1);
  assert.deepEqual(alerts, ['large-messages', 'http', 'large-messages']);
});
