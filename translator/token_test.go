package translator_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

func TestTokenIsForActivatorsAlone(t *testing.T) {
	w := &model.World{Gateway: model.Gateway{HTTP: "127.0.0.1:8080"}, ActivatorToken: "one"}
	first := translator.Translate(w, nil)
	holders := func(out *translator.Output) (roles []uint8) {
		set, _ := translator.Diff(nil, out)
		for _, r := range set {
			if strings.Contains(string(r.Body), "one") {
				roles = append(roles, r.Roles)
			}
		}
		return roles
	}
	if got := holders(first); len(got) != 1 || got[0] != translator.RoleActivator {
		t.Errorf("the token is given to the roles %b", got)
	}
	same := *w
	if set, removed := translator.Diff(first, translator.Translate(&same, first)); len(set)+len(removed) > 0 {
		t.Errorf("without a change %v is set and %v removed", set, removed)
	}
	other := *w
	other.ActivatorToken = "two"
	set, removed := translator.Diff(first, translator.Translate(&other, first))
	if len(set) != 1 || set[0].Type != translator.SecretType || len(removed) > 0 {
		t.Errorf("with another one %v is set and %v removed", set, removed)
	}
	none := *w
	none.ActivatorToken = ""
	set, removed = translator.Diff(first, translator.Translate(&none, first))
	if len(set) > 0 || len(removed) != 1 || removed[0].Type != translator.SecretType {
		t.Errorf("without one %v is set and %v removed", set, removed)
	}
}
