"""Its presence lets the tests here and below import predict_runs."""
