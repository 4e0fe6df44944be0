// This file lets goyield be declared without a body.
