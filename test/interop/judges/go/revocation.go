package main

import (
	"bytes"
	stdx509 "crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

var (
	noRevAvail               = asn1.ObjectIdentifier{2, 5, 29, 56}
	issuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	errRevoked               = errors.New("revoked")
)

// lookUp asks the CRL or the responder that the leaf names. Nobody is asked about a leaf with
// noRevAvail (RFC 9608).
func lookUp(leaf, issuer *stdx509.Certificate, how string) error {
	for _, extension := range leaf.Extensions {
		if extension.Id.Equal(noRevAvail) {
			return nil
		}
	}
	if how == "crl" {
		return lookUpCRL(leaf, issuer)
	}
	return lookUpOCSP(leaf, issuer)
}

func read(answer *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", answer.StatusCode)
	}
	return io.ReadAll(answer.Body)
}

func lookUpCRL(leaf, issuer *stdx509.Certificate) error {
	if len(leaf.CRLDistributionPoints) != 1 {
		return errors.New("the leaf names no CRL")
	}
	url := leaf.CRLDistributionPoints[0]
	der, err := read(http.Get(url))
	if err != nil {
		return err
	}
	list, err := stdx509.ParseRevocationList(der)
	if err != nil {
		return err
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return err
	}
	if now := time.Now(); now.Before(list.ThisUpdate) || now.After(list.NextUpdate) {
		return errors.New("the CRL is not current")
	}
	if err := covers(list, url); err != nil {
		return err
	}
	if slices.ContainsFunc(list.RevokedCertificateEntries, func(entry stdx509.RevocationListEntry) bool {
		return entry.SerialNumber.Cmp(leaf.SerialNumber) == 0
	}) {
		return errRevoked
	}
	return nil
}

// covers fails where the CRL is one of another distribution point (RFC 5280, section 6.3.3).
func covers(list *stdx509.RevocationList, url string) error {
	for _, extension := range list.Extensions {
		if !extension.Id.Equal(issuingDistributionPoint) {
			continue
		}
		var point struct {
			Name struct {
				FullName []asn1.RawValue `asn1:"optional,tag:0"`
			} `asn1:"optional,tag:0"`
		}
		if rest, err := asn1.Unmarshal(extension.Value, &point); err != nil || len(rest) > 0 {
			return fmt.Errorf("the distribution point of the CRL: %v", err)
		}
		if !slices.ContainsFunc(point.Name.FullName, func(name asn1.RawValue) bool {
			return name.Tag == 6 && string(name.Bytes) == url
		}) {
			return errors.New("the CRL is that of another distribution point")
		}
	}
	return nil
}

func lookUpOCSP(leaf, issuer *stdx509.Certificate) error {
	if len(leaf.OCSPServer) != 1 {
		return errors.New("the leaf names no responder")
	}
	request, err := ocsp.CreateRequest(leaf, issuer, nil)
	if err != nil {
		return err
	}
	der, err := read(http.Post(leaf.OCSPServer[0], "application/ocsp-request", bytes.NewReader(request)))
	if err != nil {
		return err
	}
	answer, err := ocsp.ParseResponseForCert(der, leaf, issuer)
	switch {
	case err != nil:
		return err
	case time.Now().After(answer.NextUpdate):
		return errors.New("the answer is not current")
	case answer.Status == ocsp.Revoked:
		return errRevoked
	case answer.Status != ocsp.Good:
		return errors.New("the responder does not know the leaf")
	}
	return nil
}
