import { done, row, type AdviceRow } from './row.ts';
import type { acmeCodes } from '../../../src/common/errors/codes/acme.ts';

const suite = 'unit/store/acme-advice.test.ts';

export const acmeAdvice = {
  ACME_NONCE_USED: row(
    'a nonce is used twice',
    [suite, 'a used nonce is refused, and a fresh one is taken'],
    done('sends the request with a fresh nonce', 'it is taken'),
  ),
  EAB_KEY_ENDED: row(
    'an account is created with a key that was revoked',
    [suite, 'an account needs a key for external account binding that is still good'],
    done('takes another key', 'the account is created'),
  ),
  ACME_ACCOUNT_ENDED: row(
    'an account that was deactivated makes an order',
    [suite, 'an account that ended orders nothing, and another one does'],
    done('creates another account', 'its order is made'),
  ),
  ACME_ORDER_ENDED: row(
    'an order is finalized whose authorization was deactivated',
    [suite, 'an order with an authorization that ended is not finalized, and a new one is'],
    done('makes a new order', 'it is finalized'),
  ),
  ACME_CAA_REFUSED: row(
    'a name that its tenant owns has CAA records for another CA',
    [
      'integration/server/acme.test.ts',
      'a name that its tenant owns is issued as its CAA records allow, without a challenge too',
    ],
    done('allows this CA in the CAA records', 'the next order has its certificate'),
  ),
  ACME_VANTAGE_SHORT: row(
    'a challenge is asked for while an agent that must look is not connected',
    [
      'integration/server/vantage.test.ts',
      'validates nothing while too few are connected: the challenge is asked for again later',
    ],
    done('lets the agent connect', 'the challenge is validated'),
  ),
  ACME_VANTAGE_DISAGREES: row(
    'a resolver elsewhere in the network has another address of the name',
    [
      'integration/server/vantage.test.ts',
      'lets no name pass of which one agent has another address, and says who saw what',
    ],
    done('gives the name the same records everywhere', 'the next order is ready'),
  ),
  ACME_REFUSED: row(
    'an account orders a name that its EAB key does not grant',
    [
      'integration/server/acme-attacks.test.ts',
      'a refusal says what was wrong, and who changes it is served',
    ],
    done('orders a name that is granted', 'the order is made'),
  ),
} as const satisfies Readonly<Record<keyof typeof acmeCodes, AdviceRow>>;
