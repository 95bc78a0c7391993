import type { Migration } from './migration.ts';

/*
 * The tenant for which a certificate was issued, as the record of its issuance states it; NULL:
 * nobody's. Rows of before are filled from these records.
 */
const sql = `
ALTER TABLE certificates ADD COLUMN tenant TEXT;

CREATE TEMP TABLE issued_for (serial BLOB PRIMARY KEY, tenant TEXT NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO issued_for
  SELECT unhex(detail ->> 'serial'), detail ->> 'tenant'
  FROM (
    SELECT CAST(canonical AS TEXT) -> '$.detail' AS detail
    FROM audit
    WHERE kind IN ('certificate.issued', 'certificate.withheld', 'authority.downstream')
      AND instr(canonical, CAST('"tenant":"' AS BLOB)) > 0
  )
  WHERE detail ->> 'serial' IS NOT NULL AND detail ->> 'tenant' IS NOT NULL;
UPDATE certificates SET tenant = issued_for.tenant
  FROM issued_for WHERE certificates.serial = issued_for.serial;
DROP TABLE issued_for;

CREATE INDEX certificates_tenant ON certificates (tenant, sequence) WHERE tenant IS NOT NULL;
`;

export const certificateTenants: Migration = { version: 25, name: 'certificate-tenants', sql };
