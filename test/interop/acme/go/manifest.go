package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// manifest reads objects for cert-manager as its API server does, strictly, and prints of the issuer
// what a client needs: the directory, the key ID, and the MAC key of the Secret that it names.
func manifest() error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	issuer, secrets := certmanager.ClusterIssuer{}, map[string]core.Secret{}
	for _, document := range strings.Split(string(text), "---\n") {
		if strings.Contains(document, "kind: Secret\n") {
			secret := core.Secret{}
			if err := yaml.UnmarshalStrict([]byte(document), &secret); err != nil {
				return err
			}
			secrets[secret.Name] = secret
		} else if err := yaml.UnmarshalStrict([]byte(document), &issuer); err != nil {
			return err
		}
	}
	if issuer.Spec.ACME == nil || issuer.Spec.ACME.ExternalAccountBinding == nil {
		return fmt.Errorf("the issuer has no external account binding")
	}
	binding := issuer.Spec.ACME.ExternalAccountBinding
	fmt.Println(issuer.Spec.ACME.Server, binding.KeyID, secrets[binding.Key.Name].StringData[binding.Key.Key])
	for _, solver := range issuer.Spec.ACME.Solvers {
		if solver.DNS01 != nil && solver.DNS01.RFC2136 != nil {
			rfc2136 := solver.DNS01.RFC2136
			secret := secrets[rfc2136.TSIGSecret.Name].StringData[rfc2136.TSIGSecret.Key]
			fmt.Println(rfc2136.Nameserver, rfc2136.TSIGAlgorithm, rfc2136.TSIGKeyName, secret)
		}
	}
	return nil
}
