package model

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

func TestEqualNoticesEveryField(t *testing.T) {
	noticesEveryField(t, Gateway.Equal)
	noticesEveryField(t, Route.Equal)
	noticesEveryField(t, Backend.Equal)
}

// noticesEveryField changes one thing after another in a value that has something in every field, however deep.
func noticesEveryField[T any](t *testing.T, equal func(a, b T) bool) {
	t.Helper()
	full := func() *T {
		v := new(T)
		fill(t, reflect.ValueOf(v).Elem())
		return v
	}
	if !equal(*full(), *full()) {
		t.Errorf("two values of %T with the same in every field are not equal", *full())
	}
	for i := 0; ; i++ {
		v := full()
		c := changer{t: t, left: i}
		c.change(reflect.ValueOf(v).Elem(), fmt.Sprintf("%T", *v))
		if c.changed == "" {
			return
		}
		if equal(*full(), *v) || equal(*v, *full()) {
			t.Errorf("nobody notices a change of %s", c.changed)
		}
	}
}

// fill puts something into every field.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("something")
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1, 0)))
			return
		}
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	default:
		t.Fatalf("%s: this test knows no values of that kind; teach it", v.Type())
	}
}

// changer changes a filled value in one place: the one that comes after so many others.
type changer struct {
	t       *testing.T
	left    int
	changed string // where; empty when there are fewer places
}

// here says whether this is the place.
func (c *changer) here(path string) bool {
	if c.changed != "" || c.left > 0 {
		c.left--
		return false
	}
	c.changed = path
	return true
}

func (c *changer) change(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Slice:
		if c.here(path + " (shorter)") {
			v.SetLen(1)
			return
		}
		for i := range v.Len() {
			c.change(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Pointer:
		if c.here(path + " (nil)") {
			v.SetZero()
			return
		}
		c.change(v.Elem(), path)
	case reflect.Struct:
		if v.Type() != reflect.TypeFor[time.Time]() {
			for i := range v.NumField() {
				c.change(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
			return
		}
		fallthrough
	default:
		if c.here(path) {
			v.SetZero()
		}
	}
}
