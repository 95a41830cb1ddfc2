package activator

// share is the part of n things, in order, that the activator at index uses of all that the given number of activators use: as
// in Knative (assignSlice), contiguous slices of equal length and one of what remains to each of the first; one each, over
// and over, where there are fewer things than activators. An index below 0 is that of an activator that is not among those
// named; it uses everything.
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
