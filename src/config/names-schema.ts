import { z } from 'zod';
import { count, seconds } from './fields.ts';

/** Certificates for names, which have no identity of the mesh. */
export const namesSchema = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe(
        'Whether certificates for names are issued, from a root of their own in the root ' +
          'token. Once it was on, turning it off ends issuing and keeps what relying parties need',
      ),
    rootPublishedSeconds: seconds(
      'A new root of names is published so long before it signs: relying parties that read ' +
        'it daily have it by then',
    ).default(259_200),
    ocsp: z
      .strictObject({
        baseUrl: z
          .url({ protocol: /^http$/ })
          .optional()
          .describe(
            'Base URL of the OCSP responder, <baseUrl>/<authority id>, which certificates of the ' +
              'profile classic name; without it there is none. The HTTP ports offer it below /ocsp',
          ),
        answerHours: count(
          'Life of an OCSP answer (hours): longer than the longest tolerated outage of the token',
          168,
        ).default(96),
        signerDays: z
          .number()
          .int()
          .min(7)
          .max(90)
          .default(30)
          .describe(
            'Life of the certificate of the signer of OCSP answers (days); it is renewed at half of it',
          ),
      })
      .prefault({}),
  })
  .prefault({});
