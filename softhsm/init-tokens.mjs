// The part of init.mjs that talks to the module. Reads its job as JSON from stdin:
//   { "modulePath": PATH, "tokens": [{ "label", "pinFile", "soPinFile" }] }
// with SOFTHSM2_CONF in the environment; writes { "created": [LABEL] }. A token that exists is never initialised again,
// since that would destroy its keys.
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import pkcs11js from 'pkcs11js';

class JobError extends Error {}

const { modulePath, tokens } = JSON.parse(readFileSync(0, 'utf8'));

try {
  const created = tokens.filter((token) => withModule((module) => ensureToken(module, token))).map((token) => token.label);
  process.stdout.write(JSON.stringify({ created }));
} catch (error) {
  process.stderr.write(error instanceof JobError ? error.message : `${error.stack}`);
  process.exitCode = 1;
}

/** A fresh initialisation per token: SoftHSM gives an initialised slot its final ID only at the next one. */
function withModule(work) {
  const module = new pkcs11js.PKCS11();
  module.load(modulePath);
  module.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
  try {
    return work(module);
  } finally {
    module.C_Finalize();
  }
}

/** @returns {boolean} whether anything had to be made */
function ensureToken(module, { label, pinFile, soPinFile }) {
  const slots = module.C_GetSlotList(true).map((slot) => ({ slot, info: tokenInfo(module, slot) }));
  const found = slots.filter(({ info }) => isInitialised(info) && info.label.replace(/[\s\0]+$/, '') === label);
  if (found.length > 1) throw new JobError(`there are ${found.length} tokens with the label ${label}; remove the wrong ones with softhsm2-util --delete-token --serial`);
  const token = found[0]?.slot;

  if (token === undefined) {
    // What can't be read may be this very token with its keys: a second one must not take its place.
    if (slots.some(({ info }) => info === undefined)) {
      throw new JobError(`the token ${label} was not found, and one token in the store is damaged or half written: put back its folder, or remove it if it never held keys`);
    }
    const free = slots.find(({ info }) => !isInitialised(info));
    if (free === undefined) throw new JobError('the module offers no free slot');
    // Both PINs are durable before the token takes them: a crash in between leaves nothing locked.
    const [soPin, pin] = [ensurePin(soPinFile), ensurePin(pinFile)];
    // The standard pads labels with blanks; pkcs11js would pad with zero bytes, and other tools not find the token.
    module.C_InitToken(free.slot, soPin, label.padEnd(32));
    setUserPin(module, free.slot, soPin, pin);
    return true;
  }
  if ((module.C_GetTokenInfo(token).flags & pkcs11js.CKF_USER_PIN_INITIALIZED) === 0) {
    setUserPin(module, token, readPin(soPinFile, label), ensurePin(pinFile));
    return true;
  }
  inSession(module, token, (session) => login(module, session, pkcs11js.CKU_USER, readPin(pinFile, label), pinFile));
  return false;
}

function setUserPin(module, slot, soPin, pin) {
  inSession(module, slot, (session) => {
    login(module, session, pkcs11js.CKU_SO, soPin, 'the security officer\'s file');
    module.C_InitPIN(session, pin);
  });
}

function login(module, session, user, pin, source) {
  try {
    module.C_Login(session, user, pin);
  } catch (error) {
    if (error.code !== pkcs11js.CKR_PIN_INCORRECT) throw error;
    throw new JobError(`the token does not accept the PIN in ${source}: put back the file that belongs to it`);
  }
}

function inSession(module, slot, work) {
  const session = module.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
  try {
    return work(session);
  } finally {
    module.C_CloseSession(session);
  }
}

function tokenInfo(module, slot) {
  try {
    return module.C_GetTokenInfo(slot);
  } catch {
    return undefined;
  }
}

function isInitialised(info) {
  return info !== undefined && (info.flags & pkcs11js.CKF_TOKEN_INITIALIZED) !== 0;
}

function readPin(path, label) {
  if (!existsSync(path)) {
    throw new JobError(`the token ${label} exists, but its PIN file ${path} does not: put the file back, or move the folder ${dirname(dirname(path))} away to begin with new keys`);
  }
  return readFileSync(path, 'utf8').trim();
}

/** The PIN in the file, made first when there is none: 192 random bits, readable by the owner only, durable on return. */
function ensurePin(path) {
  if (!existsSync(path)) {
    const handle = openSync(`${path}.new`, 'w', 0o600);
    writeSync(handle, randomBytes(24).toString('base64url'));
    fsyncSync(handle);
    closeSync(handle);
    renameSync(`${path}.new`, path);
    const folder = openSync(dirname(path), 'r');
    fsyncSync(folder);
    closeSync(folder);
  }
  return readFileSync(path, 'utf8').trim();
}
