package apiserver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/apiserver/pkg/authentication/user"
)

// adminName is the one user there is.
const adminName = "admin"

// loadToken returns the administrator's bearer token, which is made once and kept in a file that only its owner reads.
func loadToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if token := strings.TrimSpace(string(data)); err == nil && token != "" {
		return token, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the API's token: %w", err)
	}
	token := rand.Text()
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing the API's token: %w", err)
	}
	return token, nil
}

// adminByToken lets whoever brings the token be the administrator. Everybody else is refused.
func adminByToken(token string) authenticator.Request {
	admin := &user.DefaultInfo{Name: adminName, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	return bearertoken.New(tokenfile.New(map[string]*user.DefaultInfo{token: admin}))
}
