// Verifies chains with crypto/x509 and lints their certificates with zlint.
// README.md of the folder above says what it reads and prints.
package main

import (
	"bufio"
	stdx509 "crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"sort"

	"github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

type question struct {
	Name    string   `json:"name"`
	Purpose string   `json:"purpose"`
	Chain   [][]byte `json:"chain"`
	Root    []byte   `json:"root"`
	// how the leaf is looked up where it says: "crl" or "ocsp"
	Revocation string `json:"revocation"`
}

type answer struct {
	Name     string   `json:"name"`
	Accepted bool     `json:"accepted"`
	Why      string   `json:"why"`
	Lints    []string `json:"lints"`
}

func verify(asked question) error {
	roots, intermediates := stdx509.NewCertPool(), stdx509.NewCertPool()
	root, err := stdx509.ParseCertificate(asked.Root)
	if err != nil {
		return err
	}
	roots.AddCert(root)
	parsed := []*stdx509.Certificate{}
	for _, der := range asked.Chain {
		certificate, err := stdx509.ParseCertificate(der)
		if err != nil {
			return err
		}
		parsed = append(parsed, certificate)
	}
	for _, certificate := range parsed[1:] {
		intermediates.AddCert(certificate)
	}
	usage := stdx509.ExtKeyUsageServerAuth
	if asked.Purpose == "client" {
		usage = stdx509.ExtKeyUsageClientAuth
	}
	_, err = parsed[0].Verify(stdx509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		KeyUsages:     []stdx509.ExtKeyUsage{usage},
	})
	if err != nil || asked.Revocation == "" {
		return err
	}
	return lookUp(parsed[0], parsed[1], asked.Revocation)
}

// lints names what the rules of the RFCs find to be an error. The rules of the CA/Browser Forum are
// for the public web and left out.
func lints(asked question, registry lint.Registry) []string {
	found := []string{}
	for _, der := range append(append([][]byte{}, asked.Chain...), asked.Root) {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			found = append(found, "unparsable: "+err.Error())
			continue
		}
		for name, result := range zlint.LintCertificateEx(certificate, registry).Results {
			if result.Status >= lint.Error {
				found = append(found, name+": "+result.Details)
			}
		}
	}
	sort.Strings(found)
	return found
}

func main() {
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{
		IncludeSources: lint.SourceList{lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6960, lint.RFC8813},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		verdict := answer{Name: asked.Name, Accepted: true, Lints: lints(asked, registry)}
		if err := verify(asked); err != nil {
			verdict.Accepted, verdict.Why = false, err.Error()
		}
		text, _ := json.Marshal(verdict)
		fmt.Println(string(text))
	}
}
