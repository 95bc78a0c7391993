import type { IssuerHttp } from './issuer-http.ts';
import type { TokenIssuerSettings } from './settings.ts';

export interface KeySource {
  /** Reads the JWKS anew. Rejects with a plain Error that says what is wrong. */
  read(): Promise<unknown>;
  /** A file costs nothing to read, so that it is looked at again at once. */
  readonly isFile: boolean;
}

export interface KeySourceDependencies {
  readonly http: IssuerHttp;
  /** Reads a text file that the configuration names by `key`. */
  readonly readFile: (path: string, key: string) => string;
}

/** Where the keys of an issuer come from: a file, a URL, or discovery. */
export function keySource(
  { keys, issuer, name }: Pick<TokenIssuerSettings, 'keys' | 'issuer' | 'name'>,
  { http, readFile }: KeySourceDependencies,
): KeySource {
  const { file, url, tokenFile } = keys;
  if (file !== undefined) {
    const parse = (): unknown => {
      try {
        return JSON.parse(readFile(file, `tokens.issuers ${name}: keys.file`));
      } catch (thrown) {
        throw new Error(`the file with the keys can not be used: ${(thrown as Error).message}`, {
          cause: thrown,
        });
      }
    };
    return { isFile: true, read: async () => parse() };
  }
  return {
    isFile: false,
    read: async () => {
      if (url === undefined) return http({ url: await discovered(issuer, http) });
      const bearer =
        tokenFile === undefined
          ? undefined
          : readFile(tokenFile, `tokens.issuers ${name}: keys.tokenFile`).trim();
      return http({ url, bearer });
    },
  };
}

/** The jwks_uri of OpenID Connect Discovery 1.0, sections 3 and 4. */
async function discovered(issuer: string, http: IssuerHttp): Promise<string> {
  const document = await http({
    url: `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`,
  });
  const { issuer: stated, jwks_uri: url } = (document ?? {}) as Readonly<Record<string, unknown>>;
  // section 4.3: the two MUST be equal
  if (stated !== issuer)
    throw new Error(
      `the discovery document is of the issuer ${JSON.stringify(String(stated).slice(0, 200))}`,
    );
  if (typeof url !== 'string' || !URL.canParse(url))
    throw new Error('the discovery document has no jwks_uri');
  return url;
}
