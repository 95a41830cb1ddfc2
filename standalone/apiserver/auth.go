package apiserver

import (
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/apiserver/pkg/authentication/user"
)

// adminName is the only user.
const adminName = "admin"

// adminByToken authenticates requests with the token as the administrator and refuses all others.
func adminByToken(token string) authenticator.Request {
	admin := &user.DefaultInfo{Name: adminName, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	return bearertoken.New(tokenfile.New(map[string]*user.DefaultInfo{token: admin}))
}
