package sim

import (
	"reflect"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/service"
)

// coreOf finds the rules' state inside a service, to look at its invariants:
// nothing but a check of the product reads it, so the product has no door for
// it. nil: it leads by no term, or the state is not where it was.
func coreOf(svc *service.Service) *fencing.Server {
	term := termOf(svc)
	if !term.IsValid() {
		return nil
	}
	f := term.Elem().FieldByName("core")
	if !f.IsValid() || f.Type() != reflect.TypeFor[*fencing.Server]() {
		return nil
	}
	return *(**fencing.Server)(unsafe.Pointer(f.UnsafeAddr()))
}

// termOf finds the term that a service leads by, a pointer; the zero Value: none.
func termOf(svc *service.Service) reflect.Value {
	role := pointee(reflect.ValueOf(svc).Elem().FieldByName("role"))
	if !role.IsValid() {
		return reflect.Value{}
	}
	term := role.FieldByName("term")
	if !term.IsValid() || term.Kind() != reflect.Pointer || term.IsNil() {
		return reflect.Value{}
	}
	return term
}

// pointee is what an atomic.Pointer points to.
func pointee(p reflect.Value) reflect.Value {
	if !p.IsValid() || p.Kind() != reflect.Struct || p.NumField() == 0 || p.Field(0).Kind() != reflect.Array {
		return reflect.Value{}
	}
	at := *(*unsafe.Pointer)(unsafe.Pointer(p.UnsafeAddr()))
	if at == nil {
		return reflect.Value{}
	}
	return reflect.NewAt(p.Field(0).Type().Elem().Elem(), at).Elem()
}

// lostWritesOf is how many lost writes a service has counted (S12), since it was
// made; false: there is none, or the counter is not where it was.
func lostWritesOf(svc *service.Service) (float64, bool) {
	if svc == nil {
		return 0, false
	}
	m := reflect.ValueOf(svc).Elem().FieldByName("metrics")
	if !m.IsValid() || m.Kind() != reflect.Pointer || m.IsNil() {
		return 0, false
	}
	f := m.Elem().FieldByName("forgotten")
	if !f.IsValid() || f.Type() != reflect.TypeFor[prometheus.Counter]() {
		return 0, false
	}
	var now dto.Metric
	if err := (*(*prometheus.Counter)(unsafe.Pointer(f.UnsafeAddr()))).Write(&now); err != nil {
		return 0, false
	}
	return now.GetCounter().GetValue(), true
}
