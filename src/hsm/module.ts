import graphene from 'graphene-pk11';
import pkcs11 from 'pkcs11js';
import { isAbsolute } from 'node:path';

import { PkiError } from '../common/errors/index.ts';
import { calling, ckrName, hsmError } from './ckr.ts';

/**
 * A loaded module, and the slot with the token of our label. One per process: PKCS#11 state belongs
 * to the process.
 */
export interface OpenToken {
  readonly module: graphene.Module;
  readonly slot: graphene.Slot;
}

/**
 * Loads the module and finds the token. Does not log in.
 *
 * @throws PkiError HSM_MODULE_MISSING, HSM_TOKEN_NOT_FOUND (with the labels of the other tokens),
 *   HSM_PIN_LOCKED, HSM_UNAVAILABLE, HSM_FAILED
 */
export function openToken(modulePath: string, tokenLabel: string): OpenToken {
  const module = loadModule(modulePath);
  // Without CKF_OS_LOCKING_OK a module may assume a single thread. Asynchronous signing then
  // crashes it (SoftHSM does).
  initialize(module, modulePath);
  return { module, slot: findSlot(module, tokenLabel) };
}

function initialize(module: graphene.Module, modulePath: string): void {
  try {
    module.initialize({ flags: pkcs11.CKF_OS_LOCKING_OK });
  } catch (thrown) {
    const { code, message, detail, grade } = hsmError(`C_Initialize of ${modulePath}`, thrown);
    throw new PkiError(code, message, {
      cause: thrown,
      detail,
      grade,
      next:
        'Check that the device is connected. For SoftHSM, check that hsm.softhsmConf names a ' +
        'file, that the file names a token folder, and that this user may read and write both.',
    });
  }
}

function loadModule(modulePath: string): graphene.Module {
  if (!isAbsolute(modulePath)) {
    throw new PkiError(
      'HSM_MODULE_MISSING',
      `the PKCS#11 module path "${modulePath}" is not absolute`,
    );
  }
  try {
    return graphene.Module.load(modulePath);
  } catch (thrown) {
    if (ckrName(thrown) !== undefined) throw hsmError('C_GetFunctionList', thrown);
    const reason = thrown instanceof Error ? (thrown.message.split('\n')[0] ?? '') : String(thrown);
    throw new PkiError(
      'HSM_MODULE_MISSING',
      `the PKCS#11 module ${modulePath} can not be loaded: ${reason}`,
      { cause: thrown },
    );
  }
}

function findSlot(module: graphene.Module, tokenLabel: string): graphene.Slot {
  const slots = calling('C_GetSlotList', () => module.getSlots(true));
  const labels: string[] = [];
  const matches: graphene.Slot[] = [];
  for (let index = 0; index < slots.length; index++) {
    const slot = slots.items(index);
    let token: graphene.Token;
    try {
      token = slot.getToken();
    } catch {
      // A token that does not answer does not matter unless it is ours. Then ours is missing from
      // the list.
      continue;
    }
    if ((token.flags & graphene.TokenFlag.TOKEN_INITIALIZED) === 0) continue;
    labels.push(token.label);
    if (token.label === tokenLabel) matches.push(slot);
  }
  const [slot] = matches;
  if (slot === undefined) {
    const present =
      labels.length === 0 ? 'no initialised token' : labels.map((label) => `"${label}"`).join(', ');
    throw new PkiError(
      'HSM_TOKEN_NOT_FOUND',
      `no token is labelled "${tokenLabel}"; tokens: ${present}`,
    );
  }
  if (matches.length > 1) {
    // A guess could send the PIN to the wrong token and lock it.
    throw new PkiError(
      'HSM_TOKEN_NOT_FOUND',
      `${matches.length} tokens are labelled "${tokenLabel}"; labels must be unique`,
    );
  }
  return slot;
}

/**
 * Opens the anchor session and logs in, once. The anchor stays open and unused, because PKCS#11
 * logs the application out when its last session closes. C_Logout is never called, since it would
 * end the login of every session of the process.
 */
export function login(token: OpenToken, pin: string, access: 'read' | 'write'): graphene.Session {
  const { flags, label } = calling('C_GetTokenInfo', () => token.slot.getToken());
  if ((flags & graphene.TokenFlag.USER_PIN_LOCKED) !== 0) {
    throw new PkiError(
      'HSM_PIN_LOCKED',
      `C_GetTokenInfo: the user PIN of the token "${label}" is locked`,
      { grade: 'fatal' },
    );
  }
  const session = openSession(token, access);
  try {
    session.login(pin, graphene.UserType.USER);
  } catch (thrown) {
    if (ckrName(thrown) !== 'CKR_USER_ALREADY_LOGGED_IN')
      throw hsmError(`C_Login to the token "${label}"`, thrown);
  }
  return session;
}

export function openSession(token: OpenToken, access: 'read' | 'write' = 'read'): graphene.Session {
  const flags =
    graphene.SessionFlag.SERIAL_SESSION |
    (access === 'write' ? graphene.SessionFlag.RW_SESSION : 0);
  return calling('C_OpenSession', () => token.slot.open(flags));
}

/**
 * True while the session is alive and logged in as user (CKS_RO_USER_FUNCTIONS or
 * CKS_RW_USER_FUNCTIONS).
 */
export function isLoggedIn(token: OpenToken, session: graphene.Session): boolean {
  const { state } = calling('C_GetSessionInfo', () =>
    token.module.lib.C_GetSessionInfo(session.handle),
  );
  return state === 1 || state === 3;
}

/** Whether the token offers the mechanism (a CKM_* value). */
export function hasMechanism(token: OpenToken, mechanism: number): boolean {
  return calling('C_GetMechanismList', () =>
    token.module.lib.C_GetMechanismList(token.slot.handle),
  ).includes(mechanism);
}
