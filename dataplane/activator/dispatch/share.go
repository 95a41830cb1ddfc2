package dispatch

// share returns the part of all, in order, that one of several activators uses. index is its position among them; below 0 it is not one
// of them, and uses everything. The parts are Knative's (assignSlice): contiguous slices of equal length, of whose remainder each of the
// first activators gets one more. With more activators than things, each uses one, in turn.
func share[T any](all []T, index, activators int) []T {
	n := len(all)
	switch {
	case index < 0 || activators <= 1 || n == 0:
		return all
	case activators > n:
		return all[index%n : index%n+1]
	}
	size, rest := n/activators, n%activators
	mine := append([]T(nil), all[index*size:(index+1)*size]...)
	if index < rest {
		mine = append(mine, all[n-rest+index])
	}
	return mine
}
