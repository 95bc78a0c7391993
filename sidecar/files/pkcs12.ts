import { randomBytes } from 'node:crypto';
import type * as Asn1js from 'asn1js';
import type * as Pkijs from 'pkijs';

/** As Java and keytool have it. */
const iterations = 10_000;
const bagOf = { key: '1.2.840.113549.1.12.10.1.2', certificate: '1.2.840.113549.1.12.10.1.3' };
const attributes = { friendlyName: '1.2.840.113549.1.9.20', localKeyId: '1.2.840.113549.1.9.21' };
const encryption = {
  contentEncryptionAlgorithm: { name: 'AES-CBC', length: 256 },
  hmacHashAlgorithm: 'SHA-256',
  iterationCount: iterations,
} as const;

export interface KeyStoreContent {
  /** Leaf first, without the root. */
  readonly chainDer: readonly Buffer[];
  readonly privateKeyPkcs8Der: Buffer;
  /** What Java calls the entry. ASCII. */
  readonly alias: string;
  /** ASCII: programs do not agree on how other letters are encoded. */
  readonly password: string;
}

/**
 * A PFX (RFC 7292) with one key and its chain: PBES2 with AES-256 and HMAC-SHA-256, and a MAC with
 * SHA-256. DER.
 */
export async function pkcs12Of(content: KeyStoreContent): Promise<Buffer> {
  const { pkijs, asn1js } = await libraries();
  const password = bytesOf(content.password);
  const named = attributesFor(pkijs, asn1js, content.alias);
  const key = new pkijs.PKCS8ShroudedKeyBag({
    parsedValue: pkijs.PrivateKeyInfo.fromBER(content.privateKeyPkcs8Der),
  });
  await key.makeInternalValues({ password, ...encryption });
  const keyBag = new pkijs.SafeBag({ bagId: bagOf.key, bagValue: key, bagAttributes: named });
  const certificateBags = content.chainDer.map(
    (der, index) =>
      new pkijs.SafeBag({
        bagId: bagOf.certificate,
        bagValue: new pkijs.CertBag({ parsedValue: pkijs.Certificate.fromBER(der) }),
        ...(index === 0 ? { bagAttributes: named } : {}),
      }),
  );
  const pfx = new pkijs.PFX({
    parsedValue: {
      integrityMode: 0,
      authenticatedSafe: new pkijs.AuthenticatedSafe({
        parsedValue: {
          safeContents: [
            { privacyMode: 0, value: new pkijs.SafeContents({ safeBags: [keyBag] }) },
            { privacyMode: 1, value: new pkijs.SafeContents({ safeBags: certificateBags }) },
          ],
        },
      }),
    },
  });
  await pfx.parsedValue?.authenticatedSafe?.makeInternalValues({
    safeContents: [{}, { password, ...encryption }],
  });
  await pfx.makeInternalValues({
    password,
    iterations,
    pbkdf2HashAlgorithm: { name: 'SHA-256' },
    hmacHashAlgorithm: 'SHA-256',
  });
  return derOf(pfx);
}

/** The key and the certificates of a PFX, in their order. Throws for a wrong password. */
export async function readPkcs12(
  pfxDer: Buffer,
  passwordText: string,
): Promise<{ readonly privateKeyPkcs8Der: Buffer; readonly chainDer: readonly Buffer[] }> {
  const { pkijs } = await libraries();
  const password = bytesOf(passwordText);
  const pfx = pkijs.PFX.fromBER(pfxDer);
  await pfx.parseInternalValues({ password, checkIntegrity: true });
  const safe = pfx.parsedValue?.authenticatedSafe;
  if (safe === undefined) throw new Error('it has no content');
  await safe.parseInternalValues({ safeContents: safe.safeContents.map(() => ({ password })) });
  const { safeContents } = safe.parsedValue as {
    readonly safeContents: readonly { readonly value: Pkijs.SafeContents }[];
  };
  const keys: Buffer[] = [];
  const chainDer: Buffer[] = [];
  for (const { bagValue } of safeContents.flatMap(({ value }) => value.safeBags)) {
    if (bagValue instanceof pkijs.PKCS8ShroudedKeyBag)
      keys.push(Buffer.from(await decrypted(pkijs, bagValue, password)));
    else if (bagValue instanceof pkijs.CertBag)
      chainDer.push(
        Buffer.from((bagValue.certValue as Asn1js.OctetString).valueBlock.valueHexView),
      );
  }
  const [privateKeyPkcs8Der, ...more] = keys;
  if (privateKeyPkcs8Der === undefined || more.length > 0)
    throw new Error(`it holds ${keys.length} keys`);
  return { privateKeyPkcs8Der, chainDer };
}

/** EncryptedPrivateKeyInfo (RFC 5958 section 3). */
function decrypted(
  { EncryptedData, EncryptedContentInfo }: typeof Pkijs,
  { encryptionAlgorithm, encryptedData }: Pkijs.PKCS8ShroudedKeyBag,
  password: ArrayBuffer,
): Promise<ArrayBuffer> {
  return new EncryptedData({
    encryptedContentInfo: new EncryptedContentInfo({
      contentEncryptionAlgorithm: encryptionAlgorithm,
      encryptedContent: encryptedData,
    }),
  }).decrypt({ password });
}

const derOf = (value: Pkijs.PkiObject): Buffer => Buffer.from(value.toSchema().toBER());

const libraries = async (): Promise<{
  readonly pkijs: typeof Pkijs;
  readonly asn1js: typeof Asn1js;
}> => {
  const [pkijs, asn1js] = await Promise.all([import('pkijs'), import('asn1js')]);
  return { pkijs, asn1js };
};

function attributesFor(
  pkijs: typeof Pkijs,
  asn1js: typeof Asn1js,
  alias: string,
): Pkijs.Attribute[] {
  const one = (type: string, value: Asn1js.BmpString | Asn1js.OctetString): Pkijs.Attribute =>
    new pkijs.Attribute({ type, values: [value] });
  return [
    one(attributes.friendlyName, new asn1js.BmpString({ value: alias })),
    one(attributes.localKeyId, new asn1js.OctetString({ valueHex: randomBytes(20).buffer })),
  ];
}

const bytesOf = (text: string): ArrayBuffer => new TextEncoder().encode(text).buffer;
