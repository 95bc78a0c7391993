import { PkiError } from '../../common/errors/index.ts';
import type { BlockedKey as BlockedKeyMessage } from '../../common/wire/generated/meshca/admin/v1/BlockedKey.ts';
import type { KeyDetail as KeyDetailMessage } from '../../common/wire/generated/meshca/admin/v1/KeyDetail.ts';
import type { BlockedKey } from '../../domain/index.ts';
import type { KeyDetail, NamedKey } from '../../services/services.ts';
import { pageOf, serialOf } from '../messages/common.ts';
import { certificateMessage } from '../messages/views.ts';
import type { OperationsOf } from '../operation.ts';

export const keyOperations: OperationsOf<'meshca.admin.v1.Keys'> = {
  BlockKey: {
    admits: 'operators',
    // only takes rights away, in an emergency
    dualControl: 'never',
    run: async ({ services }, caller, request) =>
      detailMessage(await services.keys.block(caller, keyOf(request), request.reason)),
  },
  GetKey: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, request) =>
      detailMessage(await services.keys.get(caller, keyOf(request))),
  },
  ListBlockedKeys: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page }, signal) => {
      const { items, next } = await services.keys.list(caller, pageOf(page, signal));
      return { keys: items.map(blockedMessage), nextPageToken: next ?? '' };
    },
  },
};

function keyOf({
  publicKeySha256,
  serial,
}: {
  readonly publicKeySha256: string;
  readonly serial: string;
}): NamedKey {
  if ((publicKeySha256 === '') === (serial === ''))
    throw new PkiError('INVALID_REQUEST', 'name a key by one of public_key_sha256 and serial');
  return serial === ''
    ? { publicKeySha256: publicKeySha256.toLowerCase() }
    : { serial: serialOf(serial) };
}

const blockedMessage = (key: BlockedKey): BlockedKeyMessage => ({ ...key });

const detailMessage = ({
  publicKeySha256,
  blocked,
  certificates,
  sample,
}: KeyDetail): KeyDetailMessage => ({
  publicKeySha256,
  ...(blocked === undefined ? {} : { blocked: blockedMessage(blocked) }),
  certificates,
  sample: sample.map((record) => certificateMessage(record)),
});
