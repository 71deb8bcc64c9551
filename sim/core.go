package sim

import (
	"reflect"
	"unsafe"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/service"
)

// coreOf finds the rules' state inside a service, to look at its invariants:
// nothing but a check of the product reads it, so the product has no door for
// it. nil: it is not where it was.
func coreOf(svc *service.Service) *fencing.Server {
	f := reflect.ValueOf(svc).Elem().FieldByName("core")
	if !f.IsValid() || f.Type() != reflect.TypeFor[*fencing.Server]() {
		return nil
	}
	return *(**fencing.Server)(unsafe.Pointer(f.UnsafeAddr()))
}
